"""What every room uses: the command line, files, the machine."""
