"""The page of ``movinet watch``: pictures, events, clips and states, in a browser.

camera's thread  state: newest frame, recent events     never waits, encodes nothing
threads, one for each connection: wait for something newer, encode, send
"""
