"""The startup window, seen from the service that starts: docs/window-protocol.md is the contract."""
