"""PyTorch's .pth format without PyTorch: the pickle inside, what may stand in it, and the archive around it.

``names`` maps PyTorch's names to numtorch's objects, ``pickler`` and ``unpickler`` write and read
``data.pkl``, ``archive`` writes and reads the zip file, ``legacy`` reads the format before PyTorch 1.6.
"""
