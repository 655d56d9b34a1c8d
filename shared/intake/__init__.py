"""What a caller says about its usage: checked field by field, and turned into the record that is kept."""
