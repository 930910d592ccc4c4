"""The operator's commands of run_agent.py."""
