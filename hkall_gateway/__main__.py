"""`python -m hkall_gateway`: the command `hkall-gateway`."""

from hkall_gateway.cli import main

main(prog_name="hkall-gateway")
