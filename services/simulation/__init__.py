"""The whole agent in a world of virtual time, so that years, disasters and every await at which it may die can be tried."""
