"""`driftd doctor`: what is not as it should be, why, and the command that puts it right. Nothing here changes anything."""
