"""Programs that measure, each in a fresh process of its own.

race.py    times models by turns, back to back or at a camera's pace
start.py   what a program pays that starts with a model
endure.py  what memory many steps take
memory.py  this process's memory, as the kernel counts it

They need the runtime and nothing else: a board gets them as they are (``host.py``).
"""
