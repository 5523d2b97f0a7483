"""``yolo-assets storage``: one module a command; this one only names them."""

import typer

from yolo_assets.cli.storage.doctor import doctor
from yolo_assets.cli.storage.init import init
from yolo_assets.cli.storage.policy import policy

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.command(epilog="Example: yolo-assets storage doctor --archive s3://plant-archive/root --store s3://plant-store")(
    doctor
)
app.command(
    epilog="Example: yolo-assets storage init --archive s3://plant-archive/root --retention-days 183 --create --dry-run"
)(init)
app.command(epilog="Example: yolo-assets storage policy --out policies")(policy)
