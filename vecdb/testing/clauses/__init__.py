"""The clauses of the contract, one function each: it returns, or raises `ContractError`.

They talk to the bare embedder where the host would hide a fault, and to the host where its work
depends on the embedder keeping its word.
"""
