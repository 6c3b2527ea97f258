/* The C twin of batch.py: datagrams of one UDP socket, many a system call. The Python form is the reference.
 *
 * Nothing here blocks, so the GIL is kept: giving it up could cost a thread switch per batch. Every pointer into the
 * arena or the queue is fetched anew after anything that may run Python code.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SLOT_BYTES (65536 + 4160) /* one datagram, and an offset that keeps slots out of each other's cache lines */
#define MAX_SIZE 1024
#define SEND_CHUNK 64
#define MAX_TRIES 4 /* an error may be the news of another datagram's fate, which is told once */
#define KNOWN_SOURCES 2048 /* a power of two */

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} address_t;

typedef struct {
    address_t address;
    PyObject *flow; /* NULL: nobody yet */
} known_t;

typedef struct {
    address_t address;
    socklen_t address_bytes;
    PyObject *data;
    PyObject *target;
} outgoing_t;

typedef struct {
    PyObject_HEAD
    int fd;
    int is_receiving;
    int is_flushing;
    char has_errors; /* somebody should look into the error queue */
    Py_ssize_t size;     /* datagrams received by one call */
    Py_ssize_t capacity; /* of the queue */
    Py_ssize_t head;
    Py_ssize_t tail;
    double waited_s;
    unsigned long long sent;
    PyObject *make_flow;
    PyObject *opened; /* so that the descriptor stays this socket's */
    char *arena;
    struct mmsghdr *headers;
    struct iovec *vectors;
    address_t *sources;
    outgoing_t *queue;
    known_t *known;
    char control[CMSG_SPACE(sizeof(struct timespec)) + 64];
} Batch;

/* ------------------------------------------------------------------ life */

static void drop_queue(Batch *self)
{
    while (self->queue != NULL && self->head < self->tail) {
        outgoing_t *one = &self->queue[self->head++];
        PyObject *data = one->data, *target = one->target;
        one->data = one->target = NULL;
        Py_DECREF(data);
        Py_DECREF(target);
    }
    self->head = self->tail = 0;
}

static int Batch_traverse(Batch *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->make_flow);
    Py_VISIT(self->opened);
    for (Py_ssize_t i = self->head; self->queue != NULL && i < self->tail; i++) {
        Py_VISIT(self->queue[i].target);
    }
    for (Py_ssize_t i = 0; self->known != NULL && i < KNOWN_SOURCES; i++) {
        Py_VISIT(self->known[i].flow);
    }
    return 0;
}

static int Batch_clear(Batch *self)
{
    self->fd = -1;
    Py_CLEAR(self->make_flow);
    Py_CLEAR(self->opened);
    drop_queue(self);
    for (Py_ssize_t i = 0; self->known != NULL && i < KNOWN_SOURCES; i++) {
        Py_CLEAR(self->known[i].flow);
    }
    return 0;
}

static void Batch_dealloc(Batch *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Batch_clear(self);
    PyMem_RawFree(self->arena);
    PyMem_RawFree(self->headers);
    PyMem_RawFree(self->vectors);
    PyMem_RawFree(self->sources);
    PyMem_RawFree(self->queue);
    PyMem_RawFree(self->known);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static int allocate(Batch *self)
{
    self->arena = PyMem_RawCalloc((size_t)self->size, SLOT_BYTES); /* pages that are never written cost nothing */
    self->headers = PyMem_RawCalloc((size_t)self->size, sizeof(struct mmsghdr));
    self->vectors = PyMem_RawCalloc((size_t)self->size, sizeof(struct iovec));
    self->sources = PyMem_RawCalloc((size_t)self->size, sizeof(address_t));
    self->queue = PyMem_RawCalloc((size_t)self->capacity, sizeof(outgoing_t));
    self->known = PyMem_RawCalloc(KNOWN_SOURCES, sizeof(known_t));
    if (!self->arena || !self->headers || !self->vectors || !self->sources || !self->queue || !self->known) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < self->size; i++) {
        self->vectors[i].iov_base = self->arena + i * SLOT_BYTES;
        self->vectors[i].iov_len = 65536; /* more than any datagram has, so none is ever cut short */
        self->headers[i].msg_hdr.msg_iov = &self->vectors[i];
        self->headers[i].msg_hdr.msg_iovlen = 1;
        self->headers[i].msg_hdr.msg_name = &self->sources[i];
    }
    return 0;
}

static PyObject *Batch_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"opened", "make_flow", "size", "capacity", NULL};
    PyObject *opened, *make_flow;
    Py_ssize_t size, capacity;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OOnn:Batch", names, &opened, &make_flow, &size, &capacity)) {
        return NULL;
    }
    if (size < 1 || size > MAX_SIZE || capacity < 1 || capacity > 1 << 20) {
        PyErr_SetString(PyExc_ValueError, "size must be 1 to 1024, and capacity 1 to 1048576");
        return NULL;
    }
    int fd = PyObject_AsFileDescriptor(opened);
    if (fd < 0) {
        return NULL;
    }
    Batch *self = (Batch *)type->tp_alloc(type, 0); /* zeroed */
    if (self == NULL) {
        return NULL;
    }
    self->fd = fd;
    self->size = size;
    self->capacity = capacity;
    self->make_flow = Py_NewRef(make_flow);
    self->opened = Py_NewRef(opened);
    if (allocate(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* ------------------------------------------------------------------ receive */

static int is_same(const address_t *one, const address_t *other)
{
    if (one->any.sa_family != other->any.sa_family) {
        return 0;
    }
    if (one->any.sa_family == AF_INET) {
        return one->v4.sin_port == other->v4.sin_port && one->v4.sin_addr.s_addr == other->v4.sin_addr.s_addr;
    }
    return one->v6.sin6_port == other->v6.sin6_port && one->v6.sin6_scope_id == other->v6.sin6_scope_id
           && memcmp(&one->v6.sin6_addr, &other->v6.sin6_addr, 16) == 0;
}

static size_t place_of(const address_t *address)
{
    const unsigned char *bytes;
    size_t count;
    size_t hash = 14695981039346656037ULL;
    unsigned short port;
    if (address->any.sa_family == AF_INET) {
        bytes = (const unsigned char *)&address->v4.sin_addr;
        count = 4;
        port = address->v4.sin_port;
    } else {
        bytes = (const unsigned char *)&address->v6.sin6_addr;
        count = 16;
        port = address->v6.sin6_port;
    }
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ bytes[i]) * 1099511628211ULL;
    }
    hash = (hash ^ (port & 0xff)) * 1099511628211ULL;
    hash = (hash ^ (port >> 8)) * 1099511628211ULL;
    return (hash ^ (hash >> 32)) & (KNOWN_SOURCES - 1);
}

/* Return the flow from a source, a new reference: the one it had before, or else a new one. */
static PyObject *flow_from(Batch *self, const address_t *source)
{
    if (source->any.sa_family != AF_INET && source->any.sa_family != AF_INET6) {
        PyErr_SetString(PyExc_OSError, "a datagram came from no IP address");
        return NULL;
    }
    known_t *known = &self->known[place_of(source)];
    if (known->flow != NULL && is_same(&known->address, source)) {
        return Py_NewRef(known->flow);
    }
    char host[NI_MAXHOST];
    socklen_t length = source->any.sa_family == AF_INET ? sizeof(source->v4) : sizeof(source->v6);
    int failure = getnameinfo(&source->any, length, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
    if (failure != 0) {
        PyErr_SetString(PyExc_OSError, gai_strerror(failure));
        return NULL;
    }
    int port = ntohs(source->any.sa_family == AF_INET ? source->v4.sin_port : source->v6.sin6_port);
    PyObject *flow = PyObject_CallFunction(self->make_flow, "si", host, port);
    if (flow != NULL) {
        PyObject *old = known->flow;
        known->address = *source;
        known->flow = Py_NewRef(flow);
        Py_XDECREF(old);
    }
    return flow;
}

/* Return how long ago the kernel received the first datagram; 0 if it was not asked to say. */
static double waited(struct msghdr *header)
{
    for (struct cmsghdr *one = CMSG_FIRSTHDR(header); one != NULL; one = CMSG_NXTHDR(header, one)) {
        if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SCM_TIMESTAMPNS
            && one->cmsg_len >= CMSG_LEN(sizeof(struct timespec))) {
            struct timespec then, now;
            memcpy(&then, CMSG_DATA(one), sizeof(then));
            clock_gettime(CLOCK_REALTIME, &now);
            double seconds = (double)(now.tv_sec - then.tv_sec) + (double)(now.tv_nsec - then.tv_nsec) * 1e-9;
            return seconds > 0 ? seconds : 0;
        }
    }
    return 0;
}

static PyObject *take(Batch *self, int count)
{
    PyObject *datagrams = PyList_New(count);
    for (int i = 0; datagrams != NULL && i < count; i++) {
        Py_ssize_t length = (Py_ssize_t)self->headers[i].msg_len;
        PyObject *pair = NULL, *flow = NULL;
        PyObject *data = PyBytes_FromStringAndSize(self->arena + i * SLOT_BYTES, length);
        if (data != NULL) {
            flow = flow_from(self, &self->sources[i]);
        }
        if (flow != NULL) {
            pair = PyTuple_Pack(2, data, flow);
        }
        Py_XDECREF(data);
        Py_XDECREF(flow);
        if (pair == NULL) {
            Py_CLEAR(datagrams);
        } else {
            PyList_SET_ITEM(datagrams, i, pair);
        }
    }
    return datagrams;
}

static PyObject *Batch_receive(Batch *self, PyObject *Py_UNUSED(ignored))
{
    if (self->is_receiving) {
        PyErr_SetString(PyExc_RuntimeError, "receive was called from within receive");
        return NULL;
    }
    if (self->fd < 0) {
        return PyList_New(0);
    }
    for (Py_ssize_t i = 0; i < self->size; i++) {
        self->headers[i].msg_hdr.msg_namelen = sizeof(address_t);
    }
    int count = -1;
    for (int tries = 0; count < 0 && tries < MAX_TRIES; tries++) {
        self->headers[0].msg_hdr.msg_control = self->control;
        self->headers[0].msg_hdr.msg_controllen = sizeof(self->control);
        count = recvmmsg(self->fd, self->headers, (unsigned int)self->size, MSG_DONTWAIT, NULL);
        if (count < 0 && errno != EINTR) { /* the news of an earlier datagram's fate, or that was all we woke up for */
            self->has_errors = 1;
            if (errno == EAGAIN || errno == EWOULDBLOCK) {
                break;
            }
        }
    }
    if (count <= 0) {
        return PyList_New(0);
    }
    self->waited_s = waited(&self->headers[0].msg_hdr);
    self->is_receiving = 1;
    PyObject *datagrams = take(self, count);
    self->is_receiving = 0;
    return datagrams;
}

/* ------------------------------------------------------------------ send */

/* Return the index of an interface by its name or number (RFC 4007 11.2); 0, which none has, for any other text. */
static unsigned int zone_index(const char *zone)
{
    unsigned int index = if_nametoindex(zone);
    if (index == 0 && *zone != 0 && strspn(zone, "0123456789") == strlen(zone) && strlen(zone) < 10) {
        index = (unsigned int)strtoul(zone, NULL, 10);
    }
    return index;
}

/* Write an IP literal as an address; -1 with an exception set if it is none. */
static int read_address(address_t *address, socklen_t *length, PyObject *host, long port)
{
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(host, &size);
    if (text == NULL) {
        return -1;
    }
    memset(address, 0, sizeof(*address));
    if ((size_t)size == strlen(text) && inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons((unsigned short)port);
        *length = sizeof(address->v4);
        return 0;
    }
    const char *zone = strchr(text, '%');
    size_t bytes = zone != NULL ? (size_t)(zone - text) : (size_t)size;
    char plain[INET6_ADDRSTRLEN + 1] = {0};
    if ((size_t)size == strlen(text) && bytes < sizeof(plain)) {
        memcpy(plain, text, bytes);
        if (inet_pton(AF_INET6, plain, &address->v6.sin6_addr) == 1) {
            address->v6.sin6_family = AF_INET6;
            address->v6.sin6_port = htons((unsigned short)port);
            address->v6.sin6_scope_id = zone != NULL ? zone_index(zone + 1) : 0;
            *length = sizeof(address->v6);
            return 0;
        }
    }
    PyErr_SetString(PyExc_ValueError, "not an IP address");
    return -1;
}

static PyObject *Batch_queue(Batch *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 4 || !PyBytes_Check(args[0]) || !PyUnicode_Check(args[1]) || !PyLong_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "queue takes bytes, host, port and target");
        return NULL;
    }
    int overflow;
    long port = PyLong_AsLongAndOverflow(args[2], &overflow);
    if (overflow || port < 0 || port > 65535) {
        PyErr_SetString(PyExc_OverflowError, "port must be 0-65535");
        return NULL;
    }
    address_t address;
    socklen_t length;
    if (read_address(&address, &length, args[1], port) < 0) {
        return NULL;
    }
    if (self->tail == self->capacity && self->head > 0) {
        memmove(self->queue, self->queue + self->head, (size_t)(self->tail - self->head) * sizeof(outgoing_t));
        self->tail -= self->head;
        self->head = 0;
    }
    if (self->fd < 0 || self->tail == self->capacity) {
        return PyLong_FromLong(0);
    }
    outgoing_t *one = &self->queue[self->tail++];
    one->address = address;
    one->address_bytes = length;
    one->data = Py_NewRef(args[0]);
    one->target = Py_NewRef(args[3]);
    return PyLong_FromSsize_t(self->tail - self->head);
}

static int send_some(Batch *self)
{
    struct mmsghdr headers[SEND_CHUNK];
    struct iovec vectors[SEND_CHUNK];
    Py_ssize_t count = self->tail - self->head;
    if (count > SEND_CHUNK) {
        count = SEND_CHUNK;
    }
    memset(headers, 0, (size_t)count * sizeof(headers[0]));
    for (Py_ssize_t i = 0; i < count; i++) {
        outgoing_t *one = &self->queue[self->head + i];
        vectors[i].iov_base = PyBytes_AS_STRING(one->data);
        vectors[i].iov_len = (size_t)PyBytes_GET_SIZE(one->data);
        headers[i].msg_hdr.msg_iov = &vectors[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        headers[i].msg_hdr.msg_name = &one->address;
        headers[i].msg_hdr.msg_namelen = one->address_bytes;
    }
    return sendmmsg(self->fd, headers, (unsigned int)count, MSG_DONTWAIT);
}

/* Take the first datagram out of the queue; give back its target, a new reference. */
static PyObject *shift(Batch *self)
{
    outgoing_t *one = &self->queue[self->head++];
    PyObject *data = one->data, *target = one->target;
    one->data = one->target = NULL;
    if (self->head == self->tail) {
        self->head = self->tail = 0;
    }
    Py_DECREF(data);
    return target;
}

static int note_failure(PyObject *failures, PyObject *target, int error)
{
    PyObject *pair = Py_BuildValue("(Oi)", target, error);
    int result = pair == NULL ? -1 : PyList_Append(failures, pair);
    Py_XDECREF(pair);
    return result;
}

static PyObject *Batch_flush(Batch *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *failures = PyList_New(0);
    if (failures == NULL || self->is_flushing) {
        return failures;
    }
    self->is_flushing = 1;
    int tries = 0;
    while (self->fd >= 0 && self->head < self->tail) {
        int done = send_some(self);
        int error = errno;
        if (done > 0) {
            tries = 0;
            self->sent += (unsigned long long)done;
            while (done-- > 0 && self->head < self->tail) {
                Py_DECREF(shift(self));
            }
        } else if (error == EAGAIN || error == EWOULDBLOCK) {
            break;
        } else if (error == ENOBUFS) { /* the interface dropped it, as any router may */
            tries = 0;
            Py_DECREF(shift(self));
        } else if (error != EINTR) {
            self->has_errors = 1;
            if (++tries < MAX_TRIES) {
                continue;
            }
            tries = 0;
            PyObject *target = shift(self);
            int result = note_failure(failures, target, error);
            Py_DECREF(target);
            if (result < 0) {
                Py_CLEAR(failures);
                break;
            }
        }
    }
    self->is_flushing = 0;
    if (self->fd < 0) { /* closed meanwhile */
        drop_queue(self);
    }
    return failures;
}

static PyObject *Batch_close(Batch *self, PyObject *Py_UNUSED(ignored))
{
    self->fd = -1;
    if (!self->is_flushing) {
        drop_queue(self);
    }
    Py_CLEAR(self->opened);
    Py_RETURN_NONE;
}

static PyObject *Batch_waiting(Batch *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(self->tail - self->head);
}

/* ------------------------------------------------------------------ the module */

static PyMethodDef methods[] = {
    {"receive", (PyCFunction)Batch_receive, METH_NOARGS, "Return what has come in, each with its flow."},
    {"queue", (PyCFunction)(void (*)(void))Batch_queue, METH_FASTCALL, "Keep a datagram for the next flush."},
    {"flush", (PyCFunction)Batch_flush, METH_NOARGS, "Send what is queued; return the targets that failed."},
    {"close", (PyCFunction)Batch_close, METH_NOARGS, "Touch the socket no more."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"waiting", (getter)Batch_waiting, NULL, "How many datagrams are queued.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    {"waited_s", T_DOUBLE, offsetof(Batch, waited_s), READONLY, "How long the oldest of the last batch had waited."},
    {"has_errors", T_BOOL, offsetof(Batch, has_errors), 0, "Whether the error queue may hold something."},
    {"sent", T_ULONGLONG, offsetof(Batch, sent), READONLY, "How many datagrams have left."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, Batch_new},
    {Py_tp_dealloc, Batch_dealloc},
    {Py_tp_traverse, Batch_traverse},
    {Py_tp_clear, Batch_clear},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {0, NULL},
};

static PyType_Spec specification = {
    .name = "opencscf.common.transport._batch.Batch",
    .basicsize = sizeof(Batch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

static int fill_module(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&specification);
    if (type == NULL) {
        return -1;
    }
    int result = PyModule_AddObjectRef(module, "Batch", type);
    Py_DECREF(type);
    return result;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, fill_module},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_batch",
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__batch(void)
{
    return PyModuleDef_Init(&definition);
}
