"""Engines that sample tokens; each takes requests and uniforms, and returns samples."""

from moalign.policies.engines.transformers import generate

__all__ = ["generate"]
