"""The fault drill: train.py is killed, signalled, starved of disk and given damaged files, and has to end with the same bits."""
