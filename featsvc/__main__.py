"""`python -m featsvc` is the `featsvc` command."""

from featsvc.cli.main import main

main()
