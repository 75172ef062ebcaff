"""A point of a front: what a model is worth, and how to run it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from moalign.errors import RunError
from moalign.evaluation import Sample

Model = Any
"""A `transformers` or `peft` model; neither is imported before one is loaded."""

Numbers = Mapping[str, float | int]
"""By objective, in its own sign and unit; people write 8 as well as 8.0."""


@dataclass(frozen=True)
class Point:
    """A model's values, in each objective's own sign and unit, and where its files are."""

    id: str
    values: Mapping[str, float]  # means on the front's split; NaN where nothing was valid
    stderr: Mapping[str, float]
    preference: Mapping[str, float] = field(default_factory=dict)  # the fixed wish
    weights: Mapping[str, float] | None = None  # where the controller's weights ended
    feasible: bool = True  # meets every threshold, on dev
    step: int = 0
    seed: int = 0
    kind: str = "member"  # member, soup or conditioned
    path: Path | None = None  # directory of an adapter or a model
    dominated_on_test: bool = False  # chosen on dev, and another chosen point is better in everything on test
    dev_values: Mapping[str, float] = field(default_factory=dict)  # what it was chosen by
    prefix: str = ""  # what the model must read before every prompt to be this point
    samples: Sequence[Sample] = field(default=(), repr=False)  # completions with every reward in its own sign

    def load(self) -> tuple[Model, Any]:
        """Return (model, tokenizer): the model in evaluation mode, an adapter on top of its base.

        Where the point has a `prefix`, put it before every prompt; `generate` does.
        """
        from moalign.fronts._files import load_model

        return load_model(self.files())

    def generate(
        self,
        prompts: Sequence[Any],
        *,
        max_new_tokens: int = 256,
        temperature: float = 1.0,
        seed: int = 0,
        batch: int = 16,
        **options: Any,
    ) -> list[str]:
        """Complete prompts (text, or lists of chat messages), on a GPU where there is one; temperature 0 is greedy.

        Other options go to transformers' `generate`.
        """
        import torch

        from moalign.fronts._files import complete

        model, tokenizer = self.load()
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        known = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed, "batch": batch}
        return complete(model, tokenizer, prompts, prefix=self.prefix, **known, **options)

    def export(self, directory: str | Path, *, merge: bool = False) -> Path:
        """Write what serves this point: its adapter, loadable with PEFT, or with `merge` one whole model.

        The tokenizer goes with it, and a `prefix` as ``condition.json``. `directory` must be new or empty.
        """
        from moalign.fronts._files import export_model

        return export_model(self.files(), Path(directory), merge=merge)

    def files(self) -> Path:
        """Return the directory of the point's adapter or model."""
        if self.path is None:
            raise RunError(f"point `{self.id}` has no files: its front was not made by a run; load the run instead.")
        if not self.path.is_dir():
            raise RunError(f"the files of point `{self.id}` are not at `{self.path}`; keep the run directory whole.")
        return self.path

    def record(self, root: Path) -> dict[str, Any]:
        """Return the point as JSON data, its path relative to `root` where it lies below."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        out["samples"] = [{f.name: getattr(sample, f.name) for f in fields(sample)} for sample in self.samples]
        if self.path is not None:
            path, root = self.path.resolve(), root.resolve()
            out["path"] = str(path.relative_to(root) if path.is_relative_to(root) else path)
        return out

    @staticmethod
    def from_record(record: Mapping[str, Any], root: Path) -> "Point":
        """Undo `record`."""
        given = dict(record)
        for name in ("values", "stderr", "dev_values"):
            given[name] = {key: float("nan") if value is None else value for key, value in given[name].items()}
        given["samples"] = tuple(Sample(**sample) for sample in given["samples"])
        given["path"] = None if given["path"] is None else root / given["path"]  # an absolute path stays itself
        return Point(**given)
