"""One adapter a peer, behind the interface of `base`; each runs in the environment of its peer."""
