"""Run the `featsvc` command as `python -m featsvc`."""

from featsvc.cli.main import main

main()
