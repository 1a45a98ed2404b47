"""The command ``movinet``; its sub-commands live in the packages that own them."""
