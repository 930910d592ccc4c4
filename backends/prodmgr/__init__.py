"""ProdMgr clients: where allocations come from."""
