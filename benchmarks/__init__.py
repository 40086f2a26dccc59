"""Speed of training and decoding beside other libraries, how it scales, and where the time goes (docs/speed.md)."""
