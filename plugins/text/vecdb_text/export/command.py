"""`vecdb embedders export`."""

from __future__ import annotations

from pathlib import Path

import click

NAME = "embedders export"
_FAITHFUL = 0.99
_DEFAULT_OPSET = 17


@click.command(
    "export",
    short_help="Make an ONNX folder from a model.",
    epilog="\b\nExample:\n  vecdb embedders export sentence-transformers/all-MiniLM-L6-v2 minilm",
)
@click.argument("model")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--int8/--no-int8", default=True, show_default=True, help="Make model_int8.onnx too.")
@click.option(
    "--opset",
    type=click.IntRange(17, 20),
    default=_DEFAULT_OPSET,
    show_default=True,
    help="Version of the ONNX operators.",
)
def export(model: str, output: Path, int8: bool, opset: int) -> None:
    """Make a folder for the embedder `onnx` from a sentence-transformers model.

    MODEL is a folder or a name on the model hub; OUTPUT is the folder to make. The graphs are checked
    against the model, and the cosines with its vectors are printed.
    """
    from vecdb_text.export.export import export_model

    graphs = export_model(model, output, int8=int8, opset=opset)
    click.echo(f"{'graph':16}{'MB':>8}  {'least cosine':>12}  {'mean cosine':>12}")
    for graph in graphs:
        click.echo(
            f"{graph.name:16}{graph.size / 1e6:8.1f}  {graph.least_cosine:12.6f}  {graph.mean_cosine:12.6f}"
        )
    click.echo(f"Use it as the embedder onnx:{output}", err=True)
    if int8:
        click.echo("and the faster int8 graph with its option file=model_int8.onnx.", err=True)
        if graphs[-1].mean_cosine < _FAITHFUL:
            click.echo("The int8 graph differs much from this model: prefer model.onnx.", err=True)
