"""Packs ternary weights, codes and a scale for every 128 of a row, into the types of GGUF."""
import numpy as np


def digits(codes, n_bytes):
    """Base-3 digits of n_bytes bytes, the first digits of all bytes before the second ones, as fractions of 256."""
    columns = codes.reshape(len(codes), -1, n_bytes)
    powers = 3 ** np.arange(4, 4 - columns.shape[1], -1)
    return (((columns.astype(np.uint32) * powers[:, None]).sum(axis=1) * 256 + 242) // 243).astype(np.uint8)


def sparse(codes):
    """STQ1_0: a nibble and a bit for four weights of which one is 0."""
    fours = codes.reshape(len(codes), 4, 4, 16).swapaxes(2, 3).reshape(-1, 4).astype(np.int8) - 1
    zero = (fours == 0).argmax(axis=1)
    signs = fours[fours != 0].reshape(-1, 3) < 0
    flips = signs ^ signs[:, :1]
    nibbles = (4 * zero + flips[:, 1] + 2 * flips[:, 2]).astype(np.uint8).reshape(len(codes), 32, 2)
    return np.hstack([nibbles[:, :, 0] | nibbles[:, :, 1] << 4,
                      np.packbits(signs[:, 0].reshape(len(codes), 64), axis=1, bitorder="little")])


def blocks(weights, kind, items):
    codes, scales = weights
    d = (np.repeat(scales, 128 // items, axis=1) if items < 128 else scales[:, ::items // 128]).reshape(-1, 1).copy()
    codes = (codes + 1).astype(np.uint8).reshape(len(d), -1)
    if kind == "PTQ1_0":
        packed = np.hstack([digits(codes[:, :80], 16), digits(codes[:, 80:120], 8), digits(codes[:, 120:], 2)])
    elif kind == "STQ1_0":
        packed = sparse(codes)
    else:
        packed = np.bitwise_or.reduce(codes.reshape(len(d), -1, 4) << np.array([0, 2, 4, 6], np.uint8), axis=2)
    return np.hstack([packed, d.view(np.uint8)] if kind in ("PTQ1_0", "STQ1_0") else [d.view(np.uint8), packed])
