"""Speed and learning beside other libraries, how speed scales, and where the time goes (docs/speed.md)."""
