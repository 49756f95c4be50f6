"""What a native call makes anew: memory, tensors over it, and the node that a traced forward leaves in the autograd graph.

Objects are made while Python's garbage collector waits, so that nobody's code runs in the middle. Large memory comes from
the pool of `Storage`, which is Python: the call is then looked at again from its beginning.
"""

from __future__ import annotations

from .builtin import Builtin
from .jit import device
from .memory import call, ldi, sti
from .tables import (
    AGAIN,
    AS_INT64,
    BASE,
    BEFORE,
    BLOCK,
    BOUND,
    CALL_NONE,
    CALL_ONE,
    CPU,
    DECREF,
    DEVICE,
    EDGES,
    FALSE,
    FREED,
    FRESH_MEMORY,
    FROM_INT64,
    GC_OFF,
    GC_ON,
    GET_ATTR,
    GRAD,
    HISTORY,
    INCREF,
    LAYOUT,
    LIST_ITEMS,
    MADE,
    METAS,
    NBYTES,
    NEW_BYTES,
    NEW_LIST,
    NEW_TUPLE,
    NEXT_NUMBER,
    NO_ARGS,
    NODE,
    NODE_TYPE,
    NONE,
    NUMBER_NAME,
    OBJECT_NEW,
    OFFSET,
    OUT_METAS,
    POINTER,
    RG,
    SAVED,
    SEQ,
    SET_ATTR,
    STOCK,
    STORAGE,
    STORAGE_TYPE,
    TENSOR_TYPE,
    TRUE,
    TUPLE_ITEMS,
    VERSION,
    ZERO,
)

# Words of a history after MADE; sections are pairs (count, address).
(THE_BOUND, THE_METAS, THE_OUT_METAS, THE_EDGES, THE_FUNCTION, THE_STRUCTURE) = range(1, 7)
(INPUT_EDGES, KEPT, LEAVES, WATCHED, CHANGED, RESULTS) = range(7, 19, 2)
EDGE_COUNT = 19
HISTORY_WORDS = 24

# Words of the records of each section.
FRESH_WORDS, EDGE_WORDS, WATCHED_WORDS, CHANGED_WORDS, RESULT_WORDS = 3, 2, 2, 3, 4
FIXED_MEMORY, ARGUMENT_MEMORY, FRESH_RESULT = range(3)  # kinds of memory that must not change before the way back

SMALL = 1 << 14  # bytes: larger memory comes from the pool of Storage
READY, RAN_PYTHON = 1, 2
_PAYLOAD = Builtin.PAYLOAD


@device
def store(gate, thing, index, value):
    """Set a field of an object that was just made."""
    call(ldi(gate, INCREF), value)
    sti(thing, index, value)


@device
def dropped(gate, thing):
    """Forget an object that could not be finished."""
    call(ldi(gate, DECREF), thing)
    return 0


@device
def new_object(gate, kind):
    """An object of a class, without its fields."""
    return call(ldi(gate, OBJECT_NEW), kind, ldi(gate, NO_ARGS), 0)


@device
def new_memory(gate, nbytes, number):
    """A small Storage of `nbytes`, which is the Python int `number`; 0 if there is no memory."""
    made = new_object(gate, ldi(gate, STORAGE_TYPE))
    if made == 0:
        return 0
    block = call(ldi(gate, NEW_BYTES), 0, (nbytes + 63) // 64 * 64 + 64)
    if block == 0:
        return dropped(gate, made)
    sti(made, ldi(gate, BLOCK), block)
    start = call(ldi(gate, FROM_INT64), (block + _PAYLOAD + 63) // 64 * 64)
    if start == 0:
        return dropped(gate, made)
    sti(made, ldi(gate, POINTER), start)
    store(gate, made, ldi(gate, NBYTES), number)
    store(gate, made, ldi(gate, VERSION), ldi(gate, ZERO))
    store(gate, made, ldi(gate, DEVICE), ldi(gate, CPU))
    return made


@device
def new_tensor(gate, storage, offset, layout, requires_grad, node):
    """A tensor over given memory; 0 if there is no memory for it."""
    made = new_object(gate, ldi(gate, TENSOR_TYPE))
    if made == 0:
        return 0
    none = ldi(gate, NONE)
    store(gate, made, ldi(gate, STORAGE), storage)
    store(gate, made, ldi(gate, OFFSET), offset)
    store(gate, made, ldi(gate, LAYOUT), layout)
    store(gate, made, ldi(gate, RG), requires_grad)
    store(gate, made, ldi(gate, NODE), node)
    store(gate, made, ldi(gate, GRAD), none)
    store(gate, made, ldi(gate, BASE), none)
    return made


@device
def fill_small(gate, records, count, stock):
    """Small memory for the empty places of a list; 0 if there is none, READY, or RAN_PYTHON if large memory is wanted."""
    answer = READY
    collects = call(ldi(gate, GC_OFF)) & 1
    for i in range(count):
        if ldi(stock, i) == ldi(gate, NONE):
            nbytes = ldi(records + 8 * FRESH_WORDS * i, 1)
            if nbytes > SMALL:
                if answer == READY:
                    answer = RAN_PYTHON
            else:
                made = new_memory(gate, nbytes, ldi(records + 8 * FRESH_WORDS * i, 2))
                if made == 0:
                    answer = 0
                    break
                sti(stock, i, made)
                call(ldi(gate, DECREF), ldi(gate, NONE))
    if collects != 0:
        call(ldi(gate, GC_ON))
    return answer


@device
def fill(gate, records, count, stock):
    """Memory for the empty places of a list: READY, RAN_PYTHON if Python's code ran for it, or 0 with an exception set."""
    answer = fill_small(gate, records, count, stock)
    if answer == RAN_PYTHON:
        for i in range(count):
            if ldi(stock, i) == ldi(gate, NONE):
                made = call(ldi(gate, CALL_ONE), ldi(gate, STORAGE_TYPE), ldi(records + 8 * FRESH_WORDS * i, 2))
                if made == 0:
                    return 0
                old = ldi(stock, i)  # another call may have filled it meanwhile
                sti(stock, i, made)
                call(ldi(gate, DECREF), old)
    return answer


@device
def fill_stock(gate, table):
    """Memory for what the call makes anew, see `fill`."""
    if ldi(table, FRESH_MEMORY) == 0:
        return READY
    stock = ldi(ldi(table, STOCK), LIST_ITEMS)
    return fill(gate, ldi(table, FRESH_MEMORY + 1), ldi(table, FRESH_MEMORY), stock)


@device
def start_of(gate, storage):
    """The address of memory."""
    return call(ldi(gate, AS_INT64), ldi(storage, ldi(gate, POINTER)))


@device
def as_before(gate, table):
    """Pairs of the memory that the programs change and what it holds now; 0 if there is no memory for them."""
    history = ldi(table, HISTORY)
    count = 0 if history == 0 else ldi(history, CHANGED)
    if count == 0:
        call(ldi(gate, INCREF), ldi(gate, NO_ARGS))
        return ldi(gate, NO_ARGS)
    collects = call(ldi(gate, GC_OFF)) & 1
    found = call(ldi(gate, NEW_TUPLE), count)
    for i in range(count if found != 0 else 0):
        record = ldi(history, CHANGED + 1) + 8 * CHANGED_WORDS * i
        pair = call(ldi(gate, NEW_TUPLE), 2)
        content = call(ldi(gate, NEW_BYTES), ldi(record, 1), ldi(record, 2))
        if pair == 0 or content == 0:
            found = dropped(gate, found)
            break
        store(gate, pair, TUPLE_ITEMS, ldi(record, 0))
        sti(pair, TUPLE_ITEMS + 1, content)
        sti(found, TUPLE_ITEMS + i, pair)
    if collects != 0:
        call(ldi(gate, GC_ON))
    return found


@device
def are_leaves_or_results(gate, table, things):
    """Whether no argument with a gradient is a view, whose history Python may have to make anew."""
    history = ldi(table, HISTORY)
    for i in range(0 if history == 0 else ldi(history, INPUT_EDGES)):
        record = ldi(history, INPUT_EDGES + 1) + 8 * EDGE_WORDS * i
        if ldi(ldi(things, ldi(record, 1)), ldi(gate, BASE)) != ldi(gate, NONE):
            return 0
    return 1


@device
def new_edges(gate, history, things):
    """Where the gradients of the leaves go: the list of all calls, or one with this call's arguments."""
    template = ldi(history, THE_EDGES)
    if ldi(history, INPUT_EDGES) == 0:
        call(ldi(gate, INCREF), template)
        return template
    count = ldi(history, EDGE_COUNT)
    found = call(ldi(gate, NEW_LIST), count)
    if found == 0:
        return 0
    for i in range(count):
        store(gate, ldi(found, LIST_ITEMS), i, ldi(ldi(template, LIST_ITEMS), i))
    for i in range(ldi(history, INPUT_EDGES)):
        record = ldi(history, INPUT_EDGES + 1) + 8 * EDGE_WORDS * i
        thing = ldi(things, ldi(record, 1))
        node = ldi(thing, ldi(gate, NODE))
        edge = thing
        if node == ldi(gate, NONE):
            call(ldi(gate, INCREF), thing)
        else:
            edge = call(ldi(gate, NEW_TUPLE), 2)
            number = call(ldi(gate, GET_ATTR), thing, ldi(gate, NUMBER_NAME))
            if edge == 0 or number == 0:
                return dropped(gate, found)
            store(gate, edge, TUPLE_ITEMS, node)
            sti(edge, TUPLE_ITEMS + 1, number)
        sti(ldi(found, LIST_ITEMS), ldi(record, 0), edge)
        call(ldi(gate, DECREF), ldi(gate, NONE))
    return found


@device
def new_call(gate, history, things):
    """(function, structure, tensors) of the call, for derivatives of derivatives."""
    found = call(ldi(gate, NEW_TUPLE), 3)
    count = ldi(history, LEAVES)
    leaves = call(ldi(gate, NEW_TUPLE), count)
    if found == 0 or leaves == 0:
        return 0
    for i in range(count):
        store(gate, leaves, TUPLE_ITEMS + i, ldi(things, ldi(ldi(history, LEAVES + 1), i)))
    store(gate, found, TUPLE_ITEMS, ldi(history, THE_FUNCTION))
    store(gate, found, TUPLE_ITEMS + 1, ldi(history, THE_STRUCTURE))
    sti(found, TUPLE_ITEMS + 2, leaves)
    return found


@device
def new_kept(gate, history, stock, addresses, storages):
    """What the way back needs, as `jit/gradients.py` describes it."""
    saved, leaves, watched = ldi(history, KEPT), ldi(history, LEAVES), ldi(history, WATCHED)
    found = call(ldi(gate, NEW_TUPLE), saved + 2 * leaves + 2 * watched)
    if found == 0:
        return 0
    at = TUPLE_ITEMS
    for i in range(saved):
        store(gate, found, at + i, ldi(stock, ldi(ldi(history, KEPT + 1), i)))
    at += saved
    for i in range(leaves):
        thing = ldi(ldi(history, LEAVES + 1), i)
        store(gate, found, at + i, ldi(storages, thing))
        address = call(ldi(gate, FROM_INT64), ldi(addresses, thing))
        if address == 0:
            return dropped(gate, found)
        sti(found, at + leaves + i, address)
    at += 2 * leaves
    for i in range(watched):
        record = ldi(history, WATCHED + 1) + 8 * WATCHED_WORDS * i
        storage = ldi(record, 1)
        if ldi(record, 0) == ARGUMENT_MEMORY:
            storage = ldi(storages, storage)
        elif ldi(record, 0) == FRESH_RESULT:
            storage = ldi(stock, storage)
        store(gate, found, at + i, storage)
        store(gate, found, at + watched + i, ldi(storage, ldi(gate, VERSION)))
    return found


@device
def new_node(gate, history, stock, things, addresses, storages, before):
    """The node of the call; takes `before`. 0 if there is no memory for it."""
    made = new_object(gate, ldi(gate, NODE_TYPE))
    if made == 0:
        return dropped(gate, before)
    store(gate, made, ldi(gate, BOUND), ldi(history, THE_BOUND))
    store(gate, made, ldi(gate, METAS), ldi(history, THE_METAS))
    store(gate, made, ldi(gate, OUT_METAS), ldi(history, THE_OUT_METAS))
    store(gate, made, ldi(gate, FREED), ldi(gate, FALSE))
    sti(made, ldi(gate, BEFORE), before)
    sti(made, ldi(gate, EDGES), new_edges(gate, history, things))
    sti(made, ldi(gate, AGAIN), new_call(gate, history, things))
    sti(made, ldi(gate, SAVED), new_kept(gate, history, stock, addresses, storages))
    sti(made, ldi(gate, SEQ), call(ldi(gate, CALL_NONE), ldi(gate, NEXT_NUMBER)))
    if (
        ldi(made, ldi(gate, EDGES)) == 0
        or ldi(made, ldi(gate, AGAIN)) == 0
        or ldi(made, ldi(gate, SAVED)) == 0
        or ldi(made, ldi(gate, SEQ)) == 0
    ):
        return dropped(gate, made)
    return made


@device
def make_results(gate, history, stock, node):
    """The results that have a history; 0 if there is no memory for them."""
    for i in range(ldi(history, RESULTS)):
        record = ldi(history, RESULTS + 1) + 8 * RESULT_WORDS * i
        storage = ldi(stock, ldi(record, 0))
        made = new_tensor(gate, storage, ldi(record, 1), ldi(record, 2), ldi(gate, TRUE), node)
        if made == 0:
            return 0
        if i > 0:
            call(ldi(gate, SET_ATTR), made, ldi(gate, NUMBER_NAME), ldi(record, 3))
        sti(ldi(history, MADE), i, made)
    return READY


@device
def make_history(gate, table, things, addresses, storages, before):
    """The results with a history, in memory of the stock, which is empty then; takes `before`; 0 if there is no memory."""
    history = ldi(table, HISTORY)
    if history == 0:
        call(ldi(gate, DECREF), before)
        return READY
    stock = ldi(ldi(table, STOCK), LIST_ITEMS)
    collects = call(ldi(gate, GC_OFF)) & 1
    node = new_node(gate, history, stock, things, addresses, storages, before)
    answer = 0
    if node != 0:
        answer = make_results(gate, history, stock, node)
        call(ldi(gate, DECREF), node)
    for i in range(ldi(table, FRESH_MEMORY)):
        used = ldi(stock, i)
        call(ldi(gate, INCREF), ldi(gate, NONE))
        sti(stock, i, ldi(gate, NONE))
        call(ldi(gate, DECREF), used)
    if collects != 0:
        call(ldi(gate, GC_ON))
    return answer
