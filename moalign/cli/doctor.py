"""``moalign doctor``: what this machine has, and whether it will do."""

import typer

EXAMPLES = """
[bold]Example[/]

  moalign doctor
"""

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "datasets", "moocore", "pymoo", "trl")


def doctor() -> None:
    """Print versions, cores, memory, accelerators and free disk; exit status 1 if something needed is missing."""
    import os
    import platform
    import shutil
    from importlib.metadata import PackageNotFoundError, version

    import torch

    typer.echo(f"moalign {version('moalign')} on Python {platform.python_version()}, {platform.system()}")
    missing = []
    for name in LIBRARIES:
        try:
            typer.echo(f"{name} {version(name)}")
        except PackageNotFoundError:
            needed = name != "trl"
            missing += [name] if needed else []
            typer.echo(f"{name}: not installed{'' if needed else ' (only recipes.from_trl wants it)'}")
    typer.echo(f"cores: {os.cpu_count()}, torch threads: {torch.get_num_threads()}")
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        typer.echo(f"{torch.cuda.get_device_name()}: {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    else:
        typer.echo("no CUDA device: models train on the CPU")
    typer.echo(f"disk: {shutil.disk_usage('.').free / 2**30:.1f} GiB free here")
    if missing:
        typer.echo(f"missing: pip install {' '.join(missing)}")
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(doctor)
