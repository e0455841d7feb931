"""Planning: the agenda with its inputs, the forecast, and the expected units of the studies. It sends no request.

Not here: what one unit is and what it costs (see units/); the runs themselves (see collect/ and sensors/collection.py).
"""
