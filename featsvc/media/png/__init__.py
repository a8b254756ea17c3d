"""PNG and APNG by a reader of our own.

`chunks` reads what the file says, `pixels` inflates and converts in strips, `animation` composes,
`frames` is the decoder. All but `chunks` load kernels.
"""
