"""``yolo-assets archive``: one module per group of commands; this one only lists them.

For hosts with and without Dagster.
"""

import typer

from yolo_assets.cli.archive.history import checkpoint, witness
from yolo_assets.cli.archive.replicate import replicate
from yolo_assets.cli.archive.run import run
from yolo_assets.cli.archive.show import cat, hold, ls, show
from yolo_assets.cli.archive.verify import verify

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.command(
    epilog="Example: yolo-assets archive run --spool /data/spool --archive s3://plant/cold --grace 0  "
    "(archives every past hour, a line each; exit 1 if any failed)"
)(run)
app.command(epilog="Example: yolo-assets archive ls --archive s3://plant/cold --camera lineA_cam01 --date 2026-03-01")(
    ls
)
app.command(epilog="Example: yolo-assets archive show yolo_lineA_cam01_20260301_09 --archive s3://plant/cold")(show)
app.command(epilog="Example: yolo-assets archive verify yolo_lineA_cam01_20260301_09 --verify full")(verify)
app.command(epilog="Example: yolo-assets archive checkpoint --archive s3://plant/cold --store s3://plant/store")(
    checkpoint
)
app.command(
    epilog="Example: yolo-assets archive witness /srv/witness --archive s3://plant/cold --key archiver.pub "
    "--name example.com/quality"
)(witness)
app.command(
    epilog="Example: yolo-assets archive cat --camera lineA_cam01 --at 2026-03-01T09:15:00Z -o frame.jpg --archive URL"
)(cat)
app.command(epilog="Example: yolo-assets archive replicate --to file:///mnt/second/archive --bwlimit 20MB/s")(replicate)
app.command(
    epilog="Example: yolo-assets archive hold yolo_lineA_cam01_20260301_09 --archive s3://plant/cold  "
    "(until released by --release)"
)(hold)
