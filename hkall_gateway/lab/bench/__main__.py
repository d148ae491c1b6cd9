"""`python -m hkall_gateway.lab.bench`: what `make bench` starts."""

from hkall_gateway.lab.bench.command import main

main()
