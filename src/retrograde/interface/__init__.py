"""The classes that the author of a part subclasses, and the values that its methods are given."""
