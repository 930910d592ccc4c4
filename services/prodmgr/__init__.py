"""ProdMgr: cuts requests into allocations and applies policies."""
