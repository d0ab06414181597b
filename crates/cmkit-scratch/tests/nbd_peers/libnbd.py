"""libnbd's Python binding against a server: argv[1] is the URI of an empty disk of 64 MiB."""

import os
import sys

import nbd

uri = sys.argv[1]
MIB = 1 << 20


def connect(structured=True):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    if structured:
        h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.set_strict_mode(0)
    h.connect_uri(uri)
    return h


def fails(call, errno):
    try:
        call()
    except nbd.Error as error:
        assert error.errnum == errno, (error.errnum, error.string)
    else:
        raise AssertionError("it worked")


h = connect()
assert h.get_structured_replies_negotiated()
assert h.get_size() == 64 * MIB
assert h.get_block_size(nbd.SIZE_MINIMUM) == 1
assert h.get_block_size(nbd.SIZE_PREFERRED) == 4096
assert h.get_block_size(nbd.SIZE_MAXIMUM) == 32 * MIB
for can in (h.can_cache, h.can_df, h.can_fast_zero, h.can_flush, h.can_fua, h.can_multi_conn, h.can_trim, h.can_zero):
    assert can(), can
assert not h.is_read_only()
assert h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)

# What is written is read, by simple, structured and unfragmented replies.
data = os.urandom(3 * MIB + 17)
h.pwrite(data, 12345, nbd.CMD_FLAG_FUA)
simple = connect(structured=False)
assert not simple.get_structured_replies_negotiated()
assert simple.pread(len(data), 12345) == data
assert h.pread(len(data), 12345) == data
assert h.pread(len(data), 12345, nbd.CMD_FLAG_DF) == data
chunks = bytearray(len(data))


def chunk(buf, offset, status, error):
    assert status in (nbd.READ_DATA, nbd.READ_HOLE)
    if status == nbd.READ_DATA:
        chunks[offset - 12345 : offset - 12345 + len(buf)] = buf


h.pread_structured(len(data), 12345, chunk)
assert bytes(chunks) == data

# Zeros, advice, extents.
h.zero(MIB, MIB)
h.zero(4096, 5 * MIB, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
h.trim(MIB, 10 * MIB, nbd.CMD_FLAG_FUA)
h.cache(MIB, 0)
h.flush()
expected = bytearray(data)
expected[MIB - 12345 : 2 * MIB - 12345] = bytes(MIB)
assert h.pread(len(data), 12345) == expected
fails(lambda: h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO), 95)

total = 0


def extents(context, offset, entries, error):
    global total
    assert context == "base:allocation"
    total += sum(entries[::2])


h.block_status(32 * MIB, 0, extents)
assert total == 32 * MIB
total = 0
h.block_status(32 * MIB, 4096, extents, nbd.CMD_FLAG_REQ_ONE)
assert 0 < total <= 32 * MIB

# What fails.
fails(lambda: h.pread(512, 64 * MIB - 511), 22)
fails(lambda: h.pwrite(bytes(512), 64 * MIB - 511), 28)
fails(lambda: h.zero(512, 64 * MIB - 511), 28)
fails(lambda: h.trim(512, 64 * MIB - 511), 22)

# Many requests in flight, of several sizes.
blocks = {}
for turn in range(256):
    size = (512, 4096, 65536, 131072)[turn % 4]
    blocks[turn * 131072 + 1] = os.urandom(size)
done = 0


def finished(error):
    global done
    assert error.value == 0
    done += 1
    return 1


for offset, block in blocks.items():
    h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(block)), offset, finished)
    while h.aio_in_flight() > 64:
        h.poll(-1)
while h.aio_in_flight():
    h.poll(-1)
assert done == len(blocks)
h.flush()
buffers = {}
for offset, block in blocks.items():
    buffers[offset] = nbd.Buffer(len(block))
    h.aio_pread(buffers[offset], offset, finished)
while h.aio_in_flight():
    h.poll(-1)
for offset, block in blocks.items():
    assert buffers[offset].to_bytearray() == block, offset

# Another connection sees it, and goes on when this one leaves without a word.
for offset, block in blocks.items():
    assert simple.pread(len(block), offset) == block
h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(32 * MIB)), 32 * MIB)
del h
assert len(simple.pread(MIB, 0)) == MIB
simple.shutdown()

# The options, one by one.
o = nbd.NBD()
o.set_opt_mode(True)
o.connect_uri(uri)
names = []
o.opt_list(lambda name, description: names.append((name, description)))
assert names == [("disk", "for tests")], names
o.set_export_name("other")
fails(lambda: o.opt_info(), 2)
o.set_export_name("disk")
contexts = []
o.opt_list_meta_context(contexts.append)
assert contexts == ["base:allocation"], contexts
o.set_full_info(True)
o.opt_info()
assert o.get_canonical_export_name() == "disk"
assert o.get_export_description() == "for tests"
o.opt_go()
assert len(o.pread(10, 0)) == 10
o.shutdown()
a = nbd.NBD()
a.set_opt_mode(True)
a.connect_uri(uri)
a.opt_abort()
print("ok")
