"""The runtime on an emulated ARM board: the same answers, and instructions counted.

cores.py     the boards, as data
root.py      a file system of the board: the distribution's packages, the board's wheels
count.c      a plugin of the emulator that counts instructions between marks
guest.py     what runs inside
emulate.py   puts the four together and compares with this machine
blocks.py    says where the instructions of a frame go
"""
