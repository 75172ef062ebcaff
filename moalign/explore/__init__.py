"""Pages and pictures of runs: a plain data record first, then the renderer.

`report` is one file that opens offline; `picture` a small SVG for a README.
"""

from moalign.explore._collect import ReportData, RunData, collect_report, collect_run
from moalign.explore._picture import front_svg
from moalign.explore._report import render_report, write_report

__all__ = ["ReportData", "RunData", "collect_report", "collect_run", "front_svg", "render_report", "write_report"]
