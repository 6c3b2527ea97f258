/* The C twin of head.py, and of the reading of heads in parser.py: a message is its original bytes and an index of lines.

   The Python forms are the reference: both give the same messages and the same faults. What is rare or odd is left to
   Python (folded values, quoted parameters, IPv6 references, branches of RFC 2543), so that there is one judge of it.
   Sections: names, lines, the head, its typed values, what identifies it, edits, reading a head, the module. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <structmember.h>

#define MAX_MESSAGE_BYTES 65535 /* these three as in parser.py */
#define MAX_HEADERS 200
#define MAX_LINE 8192
#define MAX_OCTETS 0x3fffffff /* of a line, so that offsets have 32 bits */

static PyObject *ParseError, *CSeq, *split_elements;
static PyObject *transaction_key, *note_source; /* head.py's, for what is not in the usual form */
static PyObject *VIA, *FROM, *TO, *CALL_ID, *CSEQ, *CONTENT_LENGTH, *CONTENT_TYPE, *TIMESTAMP; /* canonical names */
static PyTypeObject *HeadType;

/* Raise ParseError; no offset if that is negative. */
static void *
fault(const char *reason, int status, Py_ssize_t offset)
{
    PyObject *arguments = Py_BuildValue("(s)", reason);
    PyObject *keywords = offset < 0 ? Py_BuildValue("{si}", "status", status)
                                    : Py_BuildValue("{sisn}", "status", status, "offset", offset);
    PyObject *error = arguments && keywords ? PyObject_Call(ParseError, arguments, keywords) : NULL;
    if (error)
        PyErr_SetObject(ParseError, error);
    Py_XDECREF(error);
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    return NULL;
}

/* ------------------------------------------------------------------ characters */

enum { TOKEN = 1, VALUE = 2, URI = 4, ALPHA = 8, DIGIT = 16, SCHEME = 32, HOST = 64 };
static unsigned char classes[256];

#define IS(class, c) (classes[(unsigned char)(c)] & (class))

static void
fill_classes(void)
{
    for (int c = 0x21; c < 0x7f; c++) {
        int upper = c >= 'A' && c <= 'Z', alpha = upper || (c >= 'a' && c <= 'z'), digit = c >= '0' && c <= '9';
        unsigned char class = 0;
        if (alpha || digit || strchr("-.!%*_+`'~", c))
            class |= TOKEN;
        if (!strchr("\";<>,", c))
            class |= VALUE;
        if (!strchr("\"<>", c))
            class |= URI;
        if (alpha)
            class |= ALPHA;
        if (digit)
            class |= DIGIT;
        if (alpha || digit || strchr("+.-", c))
            class |= SCHEME;
        if (alpha || digit || strchr("-_.", c))
            class |= HOST;
        classes[c] = class;
    }
}

static inline char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Whether the octets are this lower-case text in any case. */
static int
is_text(const char *octets, Py_ssize_t length, const char *text)
{
    for (; length > 0 && *text; length--, octets++, text++)
        if (lower(*octets) != *text)
            return 0;
    return length == 0 && !*text;
}

static inline int
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* ------------------------------------------------------------------ names */

enum { SLOTS = 1024, LONGEST_KNOWN = 32 }; /* a power of two, several times the names there are */

enum {
    HAS_CALL_ID = 1, HAS_CSEQ = 2, HAS_FROM = 4, HAS_TO = 8, HAS_VIA = 16,
    MANDATORY = HAS_CALL_ID | HAS_CSEQ | HAS_FROM | HAS_TO | HAS_VIA,
    HAS_CONTENT_LENGTH = 32,
};

/* What reading a head must know of a name at once. `single` has one bit for each field that may come once. */
typedef struct {
    PyObject *text; /* canonical; NULL in an empty slot */
    unsigned short length, flags, single;
    char spelling[LONGEST_KNOWN];
} Known;

static Known known_names[SLOTS];
static PyObject *spellings; /* names.KNOWN */

typedef struct {
    PyObject *text; /* a reference of its own */
    Known *known;   /* NULL for a name that is seldom seen */
} Name;

static Known *
slot_of(const char *lowered, Py_ssize_t length)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (Py_ssize_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)lowered[i]) * 16777619u;
    for (hash ^= hash >> 15;; hash++) {
        Known *slot = &known_names[hash % SLOTS];
        if (!slot->text || (slot->length == length && memcmp(slot->spelling, lowered, (size_t)length) == 0))
            return slot;
    }
}

/* Read a name: 1, or 0 if it is none, or -1 with an exception. */
static int
read_name(const char *octets, Py_ssize_t length, Name *name)
{
    char lowered[LONGEST_KNOWN];
    while (length > 0 && is_blank(octets[length - 1])) /* HCOLON allows white space before the colon */
        length--;
    if (length == 0)
        return 0;
    for (Py_ssize_t i = 0; i < length; i++) {
        if (!IS(TOKEN, octets[i]))
            return 0;
        if (i < LONGEST_KNOWN)
            lowered[i] = lower(octets[i]);
    }
    name->known = NULL;
    if (length <= LONGEST_KNOWN) {
        Known *slot = slot_of(lowered, length);
        if (slot->text) {
            name->known = slot;
            name->text = Py_NewRef(slot->text);
            return 1;
        }
    }
    name->text = PyUnicode_New(length, 127);
    if (!name->text)
        return -1;
    Py_UCS1 *out = PyUnicode_1BYTE_DATA(name->text);
    for (Py_ssize_t i = 0; i < length; i++)
        out[i] = (Py_UCS1)lower(octets[i]);
    return 1;
}

/* Read the name that a caller gives, as names.canonical_name does; 0 or -1 with an exception. */
static int
name_of(PyObject *text, Name *name)
{
    if (!PyUnicode_Check(text)) {
        PyErr_SetString(PyExc_TypeError, "a header field name is a str");
        return -1;
    }
    PyObject *canonical = PyDict_GetItemWithError(spellings, text);
    if (canonical) {
        name->text = Py_NewRef(canonical);
        name->known = known_names; /* any: that it is known is all a caller asks */
        return 0;
    }
    if (PyErr_Occurred())
        return -1;
    int found = PyUnicode_IS_ASCII(text)
        ? read_name(PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text), name) : 0;
    if (found == 0)
        fault("malformed header field name", 400, -1);
    return found == 1 ? 0 : -1;
}

static void
add_known(PyObject *canonical, const char *spelling, Py_ssize_t length)
{
    char lowered[LONGEST_KNOWN];
    if (length > LONGEST_KNOWN)
        return;
    for (Py_ssize_t i = 0; i < length; i++)
        lowered[i] = lower(spelling[i]);
    Known *slot = slot_of(lowered, length);
    if (slot->text)
        return;
    slot->text = Py_NewRef(canonical);
    slot->length = (unsigned short)length;
    memcpy(slot->spelling, lowered, (size_t)length);
    static const struct { const char *name; unsigned short flag, single; } special[] = {
        {"call-id", HAS_CALL_ID, 1}, {"cseq", HAS_CSEQ, 2}, {"from", HAS_FROM, 4}, {"to", HAS_TO, 8},
        {"via", HAS_VIA, 0}, {"content-length", HAS_CONTENT_LENGTH, 16}, {"content-type", 0, 32},
        {"expires", 0, 64}, {"max-forwards", 0, 128},
    };
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (PyUnicode_CompareWithASCIIString(canonical, special[i].name) == 0) {
            slot->flags = special[i].flag;
            slot->single = special[i].single;
        }
}

/* ------------------------------------------------------------------ lines */

typedef struct {
    PyObject *owner; /* the bytes that the offsets are in */
    PyObject *name;  /* canonical */
    PyObject *value; /* as text, once somebody asked for it */
    uint32_t start, length, value_start, value_length; /* the value of a folded line has its folds */
    char is_known, is_folded;
} Line;

static inline const char *
octets_of(const Line *line)
{
    return PyBytes_AS_STRING(line->owner);
}

static void
release(Line *line)
{
    Py_CLEAR(line->owner);
    Py_CLEAR(line->name);
    Py_CLEAR(line->value);
}

/* Find name and value in a line whose owner and place are set: 1, or 0 if it is none, or -1 with an exception. */
static int
index_line(Line *line, Known **known)
{
    const char *octets = octets_of(line);
    const char *begin = octets + line->start, *end = begin + line->length;
    const char *colon = memchr(begin, ':', line->length);
    if (!colon)
        return 0;
    Name name;
    int found = read_name(begin, colon - begin, &name);
    if (found != 1)
        return found;
    line->name = name.text;
    line->is_known = name.known != NULL;
    *known = name.known;
    const char *value = colon + 1;
    while (value < end && (is_blank(*value) || *value == '\r' || *value == '\n'))
        value++;
    while (end > value && (is_blank(end[-1]) || end[-1] == '\r' || end[-1] == '\n'))
        end--;
    line->value_start = (uint32_t)(value - octets);
    line->value_length = (uint32_t)(end - value);
    line->is_folded = line->is_folded && memchr(value, '\r', (size_t)(end - value)) != NULL;
    return 1;
}

/* Decode a folded value: white space, a line end and more white space are one space (7.3.1). */
static PyObject *
unfolded(const char *octets, Py_ssize_t length)
{
    char *buffer = PyMem_Malloc((size_t)length + 1);
    Py_ssize_t filled = 0, at = 0;
    if (!buffer)
        return PyErr_NoMemory();
    while (at < length) {
        Py_ssize_t next = at;
        while (next < length && is_blank(octets[next]))
            next++;
        if (next + 2 < length && octets[next] == '\r' && octets[next + 1] == '\n' && is_blank(octets[next + 2])) {
            buffer[filled++] = ' ';
            for (at = next + 2; at < length && is_blank(octets[at]);)
                at++;
        } else if (next > at) {
            memcpy(buffer + filled, octets + at, (size_t)(next - at));
            filled += next - at;
            at = next;
        } else {
            buffer[filled++] = octets[at++];
        }
    }
    PyObject *text = PyUnicode_DecodeUTF8(buffer, filled, "surrogateescape");
    PyMem_Free(buffer);
    return text;
}

/* Return the value as text, borrowed from the line. */
static PyObject *
value_of(Line *line)
{
    if (!line->value) {
        const char *octets = octets_of(line) + line->value_start;
        line->value = line->is_folded ? unfolded(octets, line->value_length)
                                      : PyUnicode_DecodeUTF8(octets, line->value_length, "surrogateescape");
    }
    return line->value;
}

/* Find the octets of an unfolded value: 1, or 0 if it is not that easy, or -1 with an exception. */
static int
plain_value(Line *line, const char **octets, Py_ssize_t *length)
{
    if (!line->is_folded) {
        *octets = octets_of(line) + line->value_start;
        *length = line->value_length;
        return 1;
    }
    PyObject *value = value_of(line);
    if (!value)
        return -1;
    if (!PyUnicode_IS_ASCII(value))
        return 0;
    *octets = PyUnicode_DATA(value);
    *length = PyUnicode_GET_LENGTH(value);
    return 1;
}

/* The octets of a text; `held` is what keeps them, if anything. */
typedef struct {
    const char *data;
    Py_ssize_t length;
    PyObject *held;
} Octets;

static int
encode(PyObject *text, Octets *octets)
{
    octets->held = NULL;
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "expected a str, not %.50s", Py_TYPE(text)->tp_name);
        return -1;
    }
    if (PyUnicode_IS_ASCII(text)) {
        octets->data = PyUnicode_DATA(text);
        octets->length = PyUnicode_GET_LENGTH(text);
    } else {
        octets->held = PyUnicode_AsEncodedString(text, "utf-8", "surrogateescape");
        if (!octets->held)
            return -1;
        octets->data = PyBytes_AS_STRING(octets->held);
        octets->length = PyBytes_GET_SIZE(octets->held);
    }
    if (octets->length > MAX_OCTETS) {
        Py_CLEAR(octets->held);
        PyErr_SetString(PyExc_ValueError, "the text is too long");
        return -1;
    }
    return 0;
}

static int
refuse_line_ends(const Octets *octets)
{
    if (memchr(octets->data, '\r', (size_t)octets->length) || memchr(octets->data, '\n', (size_t)octets->length)) {
        PyErr_SetString(PyExc_ValueError, "a line end inside a header field value or start line");
        return -1;
    }
    return 0;
}

/* Make a line of octets; takes over the reference to the name on success, and keeps `value` as its text. */
static int
write_line(Line *line, Name *name, const char *written, Py_ssize_t written_length, const Octets *value, PyObject *text)
{
    if (written_length > MAX_OCTETS) {
        PyErr_SetString(PyExc_ValueError, "the name is too long");
        return -1;
    }
    Py_ssize_t length = written_length + 2 + value->length;
    PyObject *owner = PyBytes_FromStringAndSize(NULL, length);
    if (!owner)
        return -1;
    char *out = PyBytes_AS_STRING(owner), *begin = out + written_length + 2, *end = out + length;
    memcpy(out, written, (size_t)written_length);
    memcpy(out + written_length, ": ", 2);
    memcpy(begin, value->data, (size_t)value->length);
    while (begin < end && is_blank(*begin))
        begin++;
    while (end > begin && is_blank(end[-1]))
        end--;
    int is_whole = end - begin == value->length && text && PyUnicode_CheckExact(text);
    *line = (Line){owner, name->text, is_whole ? Py_NewRef(text) : NULL, 0, (uint32_t)length,
                   (uint32_t)(begin - out), (uint32_t)(end - begin), name->known != NULL, 0};
    name->text = NULL;
    return 0;
}

/* Make a line of a caller's name and value; takes over the reference to the canonical name on success. */
static int
new_line(Line *line, Name *name, PyObject *written, PyObject *value)
{
    Octets octets, name_octets;
    if (encode(value, &octets) < 0)
        return -1;
    int failed = refuse_line_ends(&octets) < 0 || encode(written, &name_octets) < 0;
    if (!failed) {
        failed = write_line(line, name, name_octets.data, name_octets.length, &octets, value) < 0;
        Py_XDECREF(name_octets.held);
    }
    Py_XDECREF(octets.held);
    return failed ? -1 : 0;
}

/* ------------------------------------------------------------------ the head */

typedef struct {
    PyObject *name; /* borrowed: that of a known header field */
    PyObject *value;
} Typed;

typedef struct {
    PyObject_HEAD
    PyObject *first, *second; /* the parts of the start line that differ: method and URI, or status and reason */
    PyObject *body, *flow;
    PyObject *transaction;    /* the key, once somebody asked for it */
    PyObject *start_owner;    /* the bytes that hold the start line; NULL if it has to be written anew */
    uint32_t start_at, start_length;
    Line *lines;
    Py_ssize_t count, capacity;
    Typed *typed;
    Py_ssize_t typed_count, typed_capacity;
    char is_framed; /* whether Content-Length is there and right */
} Head;

static int
head_clear(Head *self)
{
    Py_CLEAR(self->first);
    Py_CLEAR(self->second);
    Py_CLEAR(self->body);
    Py_CLEAR(self->flow);
    Py_CLEAR(self->transaction);
    Py_CLEAR(self->start_owner);
    Line *lines = self->lines;
    Py_ssize_t count = self->count;
    self->lines = NULL;
    self->count = self->capacity = 0;
    for (Py_ssize_t i = 0; i < count; i++)
        release(&lines[i]);
    PyMem_Free(lines);
    Typed *typed = self->typed;
    count = self->typed_count;
    self->typed = NULL;
    self->typed_count = self->typed_capacity = 0;
    for (Py_ssize_t i = 0; i < count; i++)
        Py_DECREF(typed[i].value);
    PyMem_Free(typed);
    return 0;
}

static int
head_traverse(Head *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->first);
    Py_VISIT(self->second);
    Py_VISIT(self->body);
    Py_VISIT(self->flow);
    Py_VISIT(self->transaction);
    for (Py_ssize_t i = 0; i < self->typed_count; i++)
        Py_VISIT(self->typed[i].value);
    return 0;
}

static void
head_dealloc(Head *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, head_dealloc) /* a flow may hold anything, so a long chain too */
    head_clear(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static int
reserve(Head *self, Py_ssize_t more)
{
    if (self->count + more <= self->capacity)
        return 0;
    Py_ssize_t capacity = self->count + more + 8;
    Line *lines = PyMem_Realloc(self->lines, (size_t)capacity * sizeof(Line));
    if (!lines) {
        PyErr_NoMemory();
        return -1;
    }
    self->lines = lines;
    self->capacity = capacity;
    return 0;
}

/* Put a line in, whose references become the head's; room is reserved. */
static void
insert(Head *self, Py_ssize_t at, Line line)
{
    memmove(self->lines + at + 1, self->lines + at, (size_t)(self->count - at) * sizeof(Line));
    self->lines[at] = line;
    self->count++;
}

static void
drop(Head *self, Py_ssize_t at)
{
    Line line = self->lines[at];
    self->count--;
    memmove(self->lines + at, self->lines + at + 1, (size_t)(self->count - at) * sizeof(Line));
    release(&line);
}

static inline int
is_named(const Line *line, const Name *name)
{
    if (line->name == name->text)
        return 1;
    return !name->known && !line->is_known && PyUnicode_Compare(line->name, name->text) == 0;
}

/* Return where the next line of a name is; -1 if there is none. */
static Py_ssize_t
find(const Head *self, const Name *name, Py_ssize_t from)
{
    for (Py_ssize_t i = from; i < self->count; i++)
        if (is_named(&self->lines[i], name))
            return i;
    return -1;
}

static Line *
first_of(const Head *self, PyObject *known)
{
    for (Py_ssize_t i = 0; i < self->count; i++)
        if (self->lines[i].name == known)
            return &self->lines[i];
    return NULL;
}

static void
drop_all(Head *self, const Name *name, Py_ssize_t from)
{
    while ((from = find(self, name, from)) >= 0)
        drop(self, from);
}

/* What a finalizer meets that looks at a message while it is being taken down. */
static int
refuse_cleared(void)
{
    PyErr_SetString(PyExc_AttributeError, "the message has no start line any more");
    return -1;
}

/* Write the start line of its parts, unless it is there. */
static int
write_start(Head *self)
{
    if (self->start_owner)
        return 0;
    if (!self->first || !self->second)
        return refuse_cleared();
    PyObject *first = Py_NewRef(self->first), *second = Py_NewRef(self->second); /* str() of a subclass may do anything */
    PyObject *text = PyLong_Check(first) ? PyUnicode_FromFormat("SIP/2.0 %S %U", first, second)
                                         : PyUnicode_FromFormat("%S %U SIP/2.0", first, second);
    PyObject *octets = text ? PyUnicode_AsEncodedString(text, "utf-8", "surrogateescape") : NULL;
    Py_XDECREF(text);
    Py_DECREF(first);
    Py_DECREF(second);
    if (!octets)
        return -1;
    if (PyBytes_GET_SIZE(octets) > MAX_OCTETS) {
        Py_DECREF(octets);
        PyErr_SetString(PyExc_ValueError, "the start line is too long");
        return -1;
    }
    self->start_at = 0;
    self->start_length = (uint32_t)PyBytes_GET_SIZE(octets);
    Py_XSETREF(self->start_owner, octets);
    return 0;
}

static PyObject *
head_start_line(Head *self, void *closure)
{
    if (write_start(self) < 0)
        return NULL;
    return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(self->start_owner) + self->start_at, self->start_length,
                                "surrogateescape");
}

static PyObject *
head_repr(Head *self)
{
    PyObject *start = head_start_line(self, NULL);
    PyObject *text = start ? PyUnicode_FromFormat("<%U>", start) : NULL;
    Py_XDECREF(start);
    return text;
}

static PyObject *
head_second_part(Head *self, void *closure)
{
    if (!self->second) {
        refuse_cleared();
        return NULL;
    }
    return Py_NewRef(self->second);
}

static int
head_set_second_part(Head *self, PyObject *text, void *closure)
{
    Octets octets;
    if (!text) {
        PyErr_SetString(PyExc_AttributeError, "a message has its whole start line");
        return -1;
    }
    if (encode(text, &octets) < 0)
        return -1;
    int refused = refuse_line_ends(&octets);
    Py_XDECREF(octets.held);
    if (refused < 0)
        return -1;
    Py_XSETREF(self->second, Py_NewRef(text));
    Py_CLEAR(self->start_owner);
    return 0;
}

static Py_ssize_t
head_length(Head *self)
{
    if (write_start(self) < 0)
        return -1;
    if (!self->body || !PyBytes_Check(self->body)) {
        PyErr_SetString(PyExc_TypeError, "a body is bytes");
        return -1;
    }
    Py_ssize_t length = (Py_ssize_t)self->start_length + 4 + PyBytes_GET_SIZE(self->body);
    for (Py_ssize_t i = 0; i < self->count; i++)
        length += (Py_ssize_t)self->lines[i].length + 2;
    return length;
}

static PyObject *
head_size(Head *self, void *closure)
{
    Py_ssize_t length = head_length(self);
    return length < 0 ? NULL : PyLong_FromSsize_t(length);
}

static PyObject *
head_bytes(Head *self, PyObject *unused)
{
    Py_ssize_t length = head_length(self);
    PyObject *written = length < 0 ? NULL : PyBytes_FromStringAndSize(NULL, length);
    if (!written)
        return NULL;
    char *out = PyBytes_AS_STRING(written);
    memcpy(out, PyBytes_AS_STRING(self->start_owner) + self->start_at, self->start_length);
    out += self->start_length;
    memcpy(out, "\r\n", 2);
    out += 2;
    for (Py_ssize_t i = 0; i < self->count;) {
        const Line *line = &self->lines[i];
        uint32_t end = line->start + line->length;
        for (i++; i < self->count && self->lines[i].owner == line->owner && self->lines[i].start == end + 2; i++)
            end = self->lines[i].start + self->lines[i].length; /* neighbours as they came, line end between them */
        memcpy(out, octets_of(line) + line->start, end - line->start);
        out += end - line->start;
        memcpy(out, "\r\n", 2);
        out += 2;
    }
    memcpy(out, "\r\n", 2);
    memcpy(out + 2, PyBytes_AS_STRING(self->body), (size_t)PyBytes_GET_SIZE(self->body));
    return written;
}

static PyObject *
head_richcompare(PyObject *self, PyObject *other, int operation)
{
    if (operation != Py_EQ && operation != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    int is_equal = 0;
    if (PyObject_TypeCheck(other, HeadType)) {
        PyObject *ours = head_bytes((Head *)self, NULL);
        PyObject *theirs = ours ? head_bytes((Head *)other, NULL) : NULL;
        if (theirs)
            is_equal = PyBytes_GET_SIZE(ours) == PyBytes_GET_SIZE(theirs)
                && memcmp(PyBytes_AS_STRING(ours), PyBytes_AS_STRING(theirs), (size_t)PyBytes_GET_SIZE(ours)) == 0;
        int failed = !theirs;
        Py_XDECREF(ours);
        Py_XDECREF(theirs);
        if (failed)
            return NULL;
    }
    return PyBool_FromLong(operation == Py_EQ ? is_equal : !is_equal);
}

/* Reading */

static PyObject *
head_get(Head *self, PyObject *text)
{
    Name name;
    if (name_of(text, &name) < 0)
        return NULL;
    Py_ssize_t at = find(self, &name, 0);
    Py_DECREF(name.text);
    if (at < 0)
        Py_RETURN_NONE;
    return Py_XNewRef(value_of(&self->lines[at]));
}

static PyObject *
head_has(Head *self, PyObject *text)
{
    Name name;
    if (name_of(text, &name) < 0)
        return NULL;
    Py_ssize_t at = find(self, &name, 0);
    Py_DECREF(name.text);
    return PyBool_FromLong(at >= 0);
}

static int
refuse_all_but_sets(PyObject *canonical_names)
{
    if (PyAnySet_Check(canonical_names))
        return 0;
    PyErr_SetString(PyExc_TypeError, "expected a set of canonical names");
    return -1;
}

static PyObject *
head_has_any(Head *self, PyObject *canonical_names)
{
    if (refuse_all_but_sets(canonical_names) < 0)
        return NULL;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        PyObject *name = Py_NewRef(self->lines[i].name); /* a subclass of str in the set may compare as it likes */
        int is_in = PySet_Contains(canonical_names, name);
        Py_DECREF(name);
        if (is_in)
            return is_in < 0 ? NULL : Py_NewRef(Py_True);
    }
    Py_RETURN_FALSE;
}

static PyObject *
values_of(Head *self, const Name *name)
{
    PyObject *values = PyList_New(0);
    for (Py_ssize_t at = 0; values && (at = find(self, name, at)) >= 0; at++) {
        PyObject *value = value_of(&self->lines[at]);
        if (!value || PyList_Append(values, value) < 0)
            Py_CLEAR(values);
    }
    return values;
}

static PyObject *
head_get_all(Head *self, PyObject *text)
{
    Name name;
    if (name_of(text, &name) < 0)
        return NULL;
    PyObject *values = values_of(self, &name);
    Py_DECREF(name.text);
    return values;
}

/* White space as str.strip knows it, of ASCII. */
static inline int
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

/* Split an ASCII text at its commas, of which each separates two elements; None if that is Python's to say. */
static PyObject *
plain_elements(const char *at, Py_ssize_t length)
{
    const char *end = at + length;
    PyObject *elements = PyList_New(0);
    while (elements) {
        const char *comma = memchr(at, ',', (size_t)(end - at)), *stop = comma ? comma : end;
        Py_ssize_t open = 0;
        for (const char *c = at; c < stop; c++)
            open += *c == '<' ? 1 : *c == '>' ? -1 : 0;
        if (open != 0) { /* the comma may be inside a URI */
            Py_DECREF(elements);
            Py_RETURN_NONE;
        }
        const char *last = stop;
        while (at < last && is_space(*at))
            at++;
        while (last > at && is_space(last[-1]))
            last--;
        PyObject *element = PyUnicode_FromStringAndSize(at, last - at);
        if (!element || PyList_Append(elements, element) < 0)
            Py_CLEAR(elements);
        Py_XDECREF(element);
        if (!comma)
            break;
        at = comma + 1;
    }
    return elements;
}

/* Take a comma-separated list apart (7.3.1), as split_elements does. */
static PyObject *
elements_of(PyObject *value)
{
    if (PyUnicode_IS_ASCII(value)) {
        const char *octets = PyUnicode_DATA(value);
        Py_ssize_t length = PyUnicode_GET_LENGTH(value);
        if (!memchr(octets, '"', (size_t)length)) {
            PyObject *elements = plain_elements(octets, length);
            if (elements != Py_None)
                return elements;
            Py_DECREF(elements);
        }
    }
    return PyObject_CallOneArg(split_elements, value);
}

static inline int
has_comma(PyObject *value)
{
    return PyUnicode_FindChar(value, ',', 0, PyUnicode_GET_LENGTH(value), 1) >= 0;
}

static PyObject *
head_values(Head *self, PyObject *text)
{
    PyObject *values = head_get_all(self, text);
    PyObject *elements = values ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; elements && i < PyList_GET_SIZE(values); i++) {
        PyObject *value = PyList_GET_ITEM(values, i);
        if (PyUnicode_GET_LENGTH(value) == 0)
            continue;
        if (!has_comma(value)) {
            if (PyList_Append(elements, value) < 0)
                Py_CLEAR(elements);
            continue;
        }
        PyObject *found = elements_of(value);
        PyObject *joined = found ? PySequence_InPlaceConcat(elements, found) : NULL;
        Py_XDECREF(found);
        Py_SETREF(elements, joined);
    }
    Py_XDECREF(values);
    return elements;
}

/* ------------------------------------------------------------------ typed values */

static void
forget(Head *self, PyObject *name)
{
    for (Py_ssize_t i = 0; i < self->typed_count; i++)
        if (self->typed[i].name == name) {
            PyObject *value = self->typed[i].value;
            self->typed[i] = self->typed[--self->typed_count];
            Py_DECREF(value);
            return;
        }
}

/* Keep a typed value under the name of a known header field, in the place of what was there. */
static int
keep(Head *self, PyObject *name, PyObject *value)
{
    for (Py_ssize_t i = 0; i < self->typed_count; i++)
        if (self->typed[i].name == name) {
            Py_SETREF(self->typed[i].value, Py_NewRef(value));
            return 0;
        }
    if (self->typed_count == self->typed_capacity) {
        Py_ssize_t capacity = self->typed_capacity ? 2 * self->typed_capacity : 6;
        Typed *typed = PyMem_Realloc(self->typed, (size_t)capacity * sizeof(Typed));
        if (!typed) {
            PyErr_NoMemory();
            return -1;
        }
        self->typed = typed;
        self->typed_capacity = capacity;
    }
    self->typed[self->typed_count++] = (Typed){name, Py_NewRef(value)};
    return 0;
}

/* Read `number method` (20.16): 1, or 0 if that is Python's to refuse. */
static int
read_cseq(const char *octets, Py_ssize_t length, long long *number, const char **method, Py_ssize_t *method_length)
{
    Py_ssize_t at = 0;
    for (*number = 0; at < length && at < 10 && IS(DIGIT, octets[at]); at++)
        *number = *number * 10 + (octets[at] - '0');
    Py_ssize_t blank = at;
    while (at < length && is_blank(octets[at]))
        at++;
    if (blank == 0 || at == blank || at == length || *number > 0x7fffffff)
        return 0;
    *method = octets + at;
    *method_length = length - at;
    for (; at < length; at++)
        if (!IS(TOKEN, octets[at]))
            return 0;
    return 1;
}

static PyObject *method_names[32]; /* of the registered methods, names.METHODS */
static Py_ssize_t method_count;

/* Return a method's name as text; `is_known` tells whether it is a registered one. */
static PyObject *
method_of(const char *octets, Py_ssize_t length, int *is_known)
{
    for (Py_ssize_t i = 0; i < method_count; i++)
        if (PyUnicode_GET_LENGTH(method_names[i]) == length
            && memcmp(PyUnicode_DATA(method_names[i]), octets, (size_t)length) == 0) {
            *is_known = 1;
            return Py_NewRef(method_names[i]);
        }
    *is_known = 0;
    return PyUnicode_DecodeUTF8(octets, length, "surrogateescape");
}

/* Read a CSeq without a Python frame; None if that is Python's to refuse. */
static PyObject *
new_cseq(Line *line)
{
    const char *octets, *method;
    Py_ssize_t length, method_length;
    long long number;
    int is_plain = plain_value(line, &octets, &length), is_known;
    if (is_plain < 0)
        return NULL;
    if (!is_plain || !read_cseq(octets, length, &number, &method, &method_length))
        Py_RETURN_NONE;
    PyObject *name = method_of(method, method_length, &is_known); /* before the collector may run and edit the line */
    PyObject *fields = name ? PyTuple_New(2) : NULL;
    if (!fields) {
        Py_XDECREF(name);
        return NULL;
    }
    PyTuple_SET_ITEM(fields, 0, PyLong_FromLongLong(number));
    PyTuple_SET_ITEM(fields, 1, name);
    PyObject *arguments = PyTuple_GET_ITEM(fields, 0) ? PyTuple_Pack(1, fields) : NULL;
    PyObject *cseq = arguments ? PyTuple_Type.tp_new((PyTypeObject *)CSeq, arguments, NULL) : NULL;
    Py_XDECREF(arguments);
    Py_DECREF(fields);
    return cseq;
}

typedef struct {
    PyObject_HEAD
    PyObject *name, *parse;
    PyObject *absent; /* what stands for a header field that is absent; NULL if it must be there */
    char is_many;
} Field;

static PyObject *
many_values(Head *head, Field *field)
{
    Name name = {field->name, known_names};
    PyObject *parse = Py_NewRef(field->parse);
    PyObject *values = values_of(head, &name);
    PyObject *all = NULL, *lines = values ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; lines && i < PyList_GET_SIZE(values); i++) {
        PyObject *value = PyList_GET_ITEM(values, i);
        if (PyUnicode_GET_LENGTH(value) == 0)
            continue;
        PyObject *line = PyObject_CallOneArg(parse, value);
        if (!line || PyList_Append(lines, line) < 0)
            Py_CLEAR(lines);
        Py_XDECREF(line);
    }
    if (lines && PyList_GET_SIZE(lines) == 1) {
        all = PySequence_Tuple(PyList_GET_ITEM(lines, 0)); /* the same one, if it is a tuple */
    } else if (lines) {
        all = PyTuple_New(0);
        for (Py_ssize_t i = 0; all && i < PyList_GET_SIZE(lines); i++)
            Py_SETREF(all, PySequence_Concat(all, PyList_GET_ITEM(lines, i)));
    }
    Py_XDECREF(lines);
    Py_XDECREF(values);
    Py_DECREF(parse);
    return all;
}

static PyObject *
one_value(Head *head, Field *field)
{
    Line *line = first_of(head, field->name);
    if (!line) {
        if (field->absent)
            return Py_NewRef(field->absent);
        PyObject *reason = PyUnicode_FromFormat("no %U header field", field->name);
        if (reason)
            fault(PyUnicode_AsUTF8(reason), 400, -1);
        Py_XDECREF(reason);
        return NULL;
    }
    if (field->name == CSEQ) {
        PyObject *cseq = new_cseq(line);
        if (cseq != Py_None)
            return cseq;
        Py_DECREF(cseq);
    }
    PyObject *text = Py_XNewRef(value_of(line));
    if (text && field->name == VIA && has_comma(text)) {
        PyObject *elements = elements_of(text);
        Py_SETREF(text, elements ? Py_NewRef(PyList_GET_ITEM(elements, 0)) : NULL);
        Py_XDECREF(elements);
    }
    PyObject *parse = Py_NewRef(field->parse);
    PyObject *value = text ? PyObject_CallOneArg(parse, text) : NULL;
    Py_DECREF(parse);
    Py_XDECREF(text);
    return value;
}

static PyObject *
field_get(Field *field, PyObject *object, PyObject *type)
{
    if (!object || object == Py_None)
        return Py_NewRef((PyObject *)field);
    if (!PyObject_TypeCheck(object, HeadType)) {
        PyErr_SetString(PyExc_TypeError, "only a message has header fields");
        return NULL;
    }
    if (!field->name) {
        PyErr_SetString(PyExc_TypeError, "a header field without a name");
        return NULL;
    }
    Head *head = (Head *)object;
    PyObject *value = NULL;
    for (Py_ssize_t i = 0; i < head->typed_count && !value; i++)
        if (head->typed[i].name == field->name)
            value = Py_NewRef(head->typed[i].value);
    if (!value) {
        value = field->is_many ? many_values(head, field) : one_value(head, field);
        if (value && value != field->absent && keep(head, field->name, value) < 0)
            Py_CLEAR(value);
    }
    if (value && field->is_many)
        Py_SETREF(value, PySequence_List(value)); /* a caller's list is its own */
    return value;
}

static int
field_set(Field *field, PyObject *name, PyObject *parse, PyObject *absent, char is_many)
{
    Name canonical;
    if (name_of(name, &canonical) < 0)
        return -1;
    if (!canonical.known) {
        Py_DECREF(canonical.text);
        PyErr_SetString(PyExc_ValueError, "names.py does not know this name");
        return -1;
    }
    Py_XSETREF(field->name, canonical.text);
    Py_XSETREF(field->parse, Py_NewRef(parse));
    Py_XSETREF(field->absent, Py_XNewRef(absent));
    field->is_many = is_many;
    return 0;
}

static int
required_init(Field *self, PyObject *arguments, PyObject *keywords)
{
    PyObject *name, *parse;
    return PyArg_ParseTuple(arguments, "UO", &name, &parse) ? field_set(self, name, parse, NULL, 0) : -1;
}

static int
optional_init(Field *self, PyObject *arguments, PyObject *keywords)
{
    PyObject *name, *parse, *absent;
    return PyArg_ParseTuple(arguments, "UOO", &name, &parse, &absent) ? field_set(self, name, parse, absent, 0) : -1;
}

static int
many_init(Field *self, PyObject *arguments, PyObject *keywords)
{
    PyObject *name, *parse;
    return PyArg_ParseTuple(arguments, "UO", &name, &parse) ? field_set(self, name, parse, NULL, 1) : -1;
}

static void
field_dealloc(Field *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->name);
    Py_XDECREF(self->parse);
    Py_XDECREF(self->absent);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* ------------------------------------------------------------------ what identifies a message */

typedef struct {
    const char *data; /* NULL if there is none */
    Py_ssize_t length;
} Span;

static PyObject *
text_of(Span span)
{
    if (!span.data)
        Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(span.data, span.length, "surrogateescape");
}

/* Read `;name=value` pairs to the end or a comma: where they end, or NULL if they are not all plain.

   The first one of the wanted name is found; its value is empty, not NULL, if it has none. */
static const char *
plain_params(const char *at, const char *end, const char *wanted, Span *found)
{
    *found = (Span){NULL, 0};
    while (at < end && *at == ';') {
        const char *name = ++at;
        while (at < end && IS(TOKEN, *at))
            at++;
        Span value = {at, 0};
        Py_ssize_t name_length = at - name;
        if (name_length == 0)
            return NULL;
        if (at < end && *at == '=') {
            value.data = ++at;
            while (at < end && IS(VALUE, *at))
                at++;
            value.length = at - value.data;
            if (value.length == 0)
                return NULL;
        }
        if (!found->data && is_text(name, name_length, wanted))
            *found = value;
    }
    return at;
}

typedef struct {
    Span host, branch;
    int port; /* 5060 if there is none */
} TopVia;

/* Read the topmost Via: 1, or 0 if it is Python's to judge, or -1 with an exception. */
static int
read_via(const Head *self, TopVia *via)
{
    const char *at;
    Py_ssize_t length;
    Line *line = first_of(self, VIA);
    int is_plain = line ? plain_value(line, &at, &length) : 0;
    if (is_plain != 1)
        return is_plain;
    const char *end = at + length;
    if (length < 8 || !is_text(at, 3, "sip") || memcmp(at + 3, "/2.0/", 5) != 0)
        return 0;
    const char *begin = at += 8;
    while (at < end && IS(TOKEN, *at))
        at++;
    if (at == begin || at == end || !is_blank(*at))
        return 0;
    while (at < end && is_blank(*at))
        at++;
    via->host.data = at;
    while (at < end && IS(HOST, *at))
        at++;
    via->host.length = at - via->host.data;
    if (via->host.length == 0)
        return 0;
    via->port = 5060;
    if (at < end && *at == ':') {
        begin = ++at;
        for (via->port = 0; at < end && at - begin < 5 && IS(DIGIT, *at); at++)
            via->port = via->port * 10 + (*at - '0');
        if (at == begin || via->port < 1 || via->port > 65535)
            return 0;
    }
    at = plain_params(at, end, "branch", &via->branch);
    if (!at)
        return 0;
    if (at == end)
        return 1;
    for (const char *rest = at; rest < end; rest++) /* a comma that separates elements, beyond doubt */
        if (*rest == '"' || *rest == '<' || *rest == '>')
            return 0;
    return *at == ',';
}

/* Read the tag of From or To: 1, or 0 if the value is Python's to judge, or -1 with an exception. */
static int
read_tag(const Head *self, PyObject *name, Span *tag)
{
    const char *at;
    Py_ssize_t length;
    Line *line = first_of(self, name);
    int is_plain = line ? plain_value(line, &at, &length) : 0;
    if (is_plain != 1)
        return is_plain;
    const char *end = at + length;
    const char *open = memchr(at, '<', (size_t)length);
    if (open && *at == '"') {
        for (at++; at < end && *at != '"'; at++)
            if (*at == '\\' && ++at == end)
                return 0;
        if (at == end)
            return 0;
        for (at++; at < end && is_blank(*at); at++)
            ;
        if (at == end || *at != '<')
            return 0;
        open = at;
    }
    if (open) {
        while (at < open && (IS(TOKEN, *at) || is_blank(*at)))
            at++;
        if (at != open)
            return 0;
        at++;
    }
    const char *begin = at;
    while (at < end && IS(SCHEME, *at))
        at++;
    if (at == begin || !IS(ALPHA, *begin) || at == end || *at != ':')
        return 0;
    begin = ++at;
    while (at < end && IS(URI, *at) && (open || !strchr(",;?", *at)))
        at++;
    if (at == begin || (open && (at == end || *at++ != '>')))
        return 0;
    return plain_params(at, end, "tag", tag) == end;
}

static PyObject *
tag_of(Head *self, PyObject *name, const char *property)
{
    Span tag;
    int found = read_tag(self, name, &tag);
    if (found)
        return found < 0 ? NULL : text_of(tag);
    PyObject *address = PyObject_GetAttrString((PyObject *)self, property);
    PyObject *text = address ? PyObject_GetAttrString(address, "tag") : NULL;
    Py_XDECREF(address);
    return text;
}

static PyObject *
head_from_tag(Head *self, void *closure)
{
    return tag_of(self, FROM, "from_");
}

static PyObject *
head_to_tag(Head *self, void *closure)
{
    return tag_of(self, TO, "to");
}

static PyObject *
head_branch(Head *self, void *closure)
{
    TopVia via;
    int found = read_via(self, &via);
    if (found)
        return found < 0 ? NULL : text_of(via.branch);
    PyObject *typed = PyObject_GetAttrString((PyObject *)self, "via");
    PyObject *text = typed ? PyObject_GetAttrString(typed, "branch") : NULL;
    Py_XDECREF(typed);
    return text;
}

/* Return the key of a server transaction of this method (17.2.3). */
static PyObject *
key_of(Head *self, Span method)
{
    TopVia via = {{NULL, 0}, {NULL, 0}, 0};
    int found = read_via(self, &via);
    if (found < 0)
        return NULL;
    if (!found || via.branch.length <= 7 || !is_text(via.branch.data, 7, "z9hg4bk")) {
        PyObject *text = text_of(method);
        PyObject *key = text ? PyObject_CallFunctionObjArgs(transaction_key, (PyObject *)self, text, NULL) : NULL;
        Py_XDECREF(text);
        return key;
    }
    char port[8];
    int port_length = PyOS_snprintf(port, sizeof port, "%d", via.port);
    PyObject *key = PyUnicode_New(via.branch.length + via.host.length + port_length + method.length + 3, 127);
    if (!key)
        return NULL;
    char *out = PyUnicode_DATA(key);
    memcpy(out, via.branch.data, (size_t)via.branch.length);
    out += via.branch.length;
    *out++ = '|';
    for (Py_ssize_t i = 0; i < via.host.length; i++)
        *out++ = lower(via.host.data[i]);
    *out++ = ':';
    memcpy(out, port, (size_t)port_length);
    out += port_length;
    *out++ = '|';
    memcpy(out, method.data, (size_t)method.length);
    return key;
}

static PyObject *
head_invite_transaction_id(Head *self, void *closure)
{
    return key_of(self, (Span){"INVITE", 6});
}

static PyObject *
head_transaction_id(Head *self, void *closure)
{
    if (self->transaction)
        return Py_NewRef(self->transaction);
    Span span = {NULL, 0};
    PyObject *method = NULL;
    const char *octets;
    Py_ssize_t length;
    long long number;
    Line *line = first_of(self, CSEQ);
    int is_plain = line ? plain_value(line, &octets, &length) : 0;
    if (is_plain < 0)
        return NULL;
    if (!is_plain || !read_cseq(octets, length, &number, &span.data, &span.length)) {
        PyObject *cseq = PyObject_GetAttrString((PyObject *)self, "cseq"); /* which tells what is wrong */
        method = cseq ? PyObject_GetAttrString(cseq, "method") : NULL;
        Py_XDECREF(cseq);
        span.data = method ? PyUnicode_AsUTF8AndSize(method, &span.length) : NULL;
        if (span.data && !PyUnicode_IS_ASCII(method)) { /* a class of somebody's own said so: the key has ASCII */
            fault("a method is a token", 400, -1);
            span.data = NULL;
        }
        if (!span.data) {
            Py_XDECREF(method);
            return NULL;
        }
    }
    if (span.length == 3 && memcmp(span.data, "ACK", 3) == 0)
        span = (Span){"INVITE", 6};
    PyObject *key = key_of(self, span);
    Py_XDECREF(method);
    Py_XSETREF(self->transaction, Py_XNewRef(key));
    return key;
}

/* The branch of the topmost Via and the method of CSeq; Python reads what is not in the usual form. */
static PyObject *
head_client_transaction_id(Head *self, void *closure)
{
    TopVia via = {{NULL, 0}, {NULL, 0}, 0};
    Span method = {NULL, 0};
    const char *octets;
    Py_ssize_t length;
    long long number;
    Line *line = first_of(self, CSEQ);
    int is_plain = line ? plain_value(line, &octets, &length) : 0;
    if (is_plain == 1)
        is_plain = read_cseq(octets, length, &number, &method.data, &method.length) ? read_via(self, &via) : 0;
    if (is_plain < 0)
        return NULL;
    if (is_plain && via.branch.data) {
        PyObject *key = PyUnicode_New(via.branch.length + 1 + method.length, 127);
        if (!key)
            return NULL;
        char *out = PyUnicode_DATA(key);
        memcpy(out, via.branch.data, (size_t)via.branch.length);
        out[via.branch.length] = '|';
        memcpy(out + via.branch.length + 1, method.data, (size_t)method.length);
        return key;
    }
    PyObject *branch = head_branch(self, NULL);
    PyObject *cseq = branch ? PyObject_GetAttrString((PyObject *)self, "cseq") : NULL;
    PyObject *name = cseq ? PyObject_GetAttrString(cseq, "method") : NULL;
    PyObject *key = NULL;
    if (name)
        key = branch == Py_None ? PyUnicode_FromFormat("|%U", name) : PyUnicode_FromFormat("%U|%U", branch, name);
    Py_XDECREF(branch);
    Py_XDECREF(cseq);
    Py_XDECREF(name);
    return key;
}

static PyObject *
head_assign_to(Head *self, PyObject *key)
{
    Py_XSETREF(self->transaction, Py_NewRef(key));
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------ edits */

/* Write the Content-Length that the body has (20.14). */
static int
frame(Head *self)
{
    char digits[24];
    Name name = {CONTENT_LENGTH, known_names};
    if (!self->body || !PyBytes_Check(self->body)) {
        PyErr_SetString(PyExc_TypeError, "a body is bytes");
        return -1;
    }
    if (reserve(self, 1) < 0)
        return -1;
    Octets value = {digits, PyOS_snprintf(digits, sizeof digits, "%zd", PyBytes_GET_SIZE(self->body)), NULL};
    Name own = {Py_NewRef(CONTENT_LENGTH), known_names};
    Line line;
    if (write_line(&line, &own, "Content-Length", 14, &value, NULL) < 0) {
        Py_DECREF(CONTENT_LENGTH);
        return -1;
    }
    Py_ssize_t at = find(self, &name, 0);
    if (at < 0) {
        insert(self, self->count, line);
    } else {
        Line old = self->lines[at];
        self->lines[at] = line;
        release(&old);
        drop_all(self, &name, at + 1);
    }
    forget(self, CONTENT_LENGTH);
    self->is_framed = 1;
    return 0;
}

static int
edited(Head *self, const Name *name)
{
    if (name->known) {
        forget(self, name->text);
        if (name->text == VIA || name->text == FROM || name->text == CALL_ID || name->text == CSEQ)
            Py_CLEAR(self->transaction);
    }
    return !self->is_framed || name->text == CONTENT_LENGTH ? frame(self) : 0;
}

enum Edit { SET, PREPEND, APPEND };

static PyObject *
edit(Head *self, PyObject *const *arguments, Py_ssize_t count, enum Edit how)
{
    Name name;
    Line line;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected a name and a value");
        return NULL;
    }
    if (name_of(arguments[0], &name) < 0)
        return NULL;
    Name own = {Py_NewRef(name.text), name.known};
    if (new_line(&line, &own, arguments[0], arguments[1]) < 0) {
        Py_DECREF(own.text);
        Py_DECREF(name.text);
        return NULL;
    }
    if (reserve(self, 1) < 0) { /* last, since an error handler for surrogates may be Python, and edit this message */
        release(&line);
        Py_DECREF(name.text);
        return NULL;
    }
    Py_ssize_t at = find(self, &name, 0);
    switch (how) {
    case SET:
        if (at < 0) {
            insert(self, self->count, line);
        } else {
            Line old = self->lines[at];
            self->lines[at] = line;
            release(&old);
            drop_all(self, &name, at + 1);
        }
        break;
    case PREPEND:
        insert(self, at < 0 ? 0 : at, line);
        break;
    case APPEND:
        for (Py_ssize_t next = at; next >= 0; next = find(self, &name, next + 1))
            at = next;
        insert(self, at < 0 ? self->count : at + 1, line);
    }
    int failed = edited(self, &name);
    Py_DECREF(name.text);
    if (failed < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
head_set(Head *self, PyObject *const *arguments, Py_ssize_t count)
{
    return edit(self, arguments, count, SET);
}

static PyObject *
head_prepend(Head *self, PyObject *const *arguments, Py_ssize_t count)
{
    return edit(self, arguments, count, PREPEND);
}

static PyObject *
head_append(Head *self, PyObject *const *arguments, Py_ssize_t count)
{
    return edit(self, arguments, count, APPEND);
}

static int
remove_named(Head *self, const Name *name)
{
    if (find(self, name, 0) < 0)
        return 0;
    drop_all(self, name, 0);
    return edited(self, name);
}

static PyObject *
head_remove(Head *self, PyObject *text)
{
    Name name;
    if (name_of(text, &name) < 0)
        return NULL;
    int failed = remove_named(self, &name);
    Py_DECREF(name.text);
    if (failed < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
head_remove_all(Head *self, PyObject *canonical_names)
{
    int is_framed_anew = 0;
    if (refuse_all_but_sets(canonical_names) < 0)
        return NULL;
    for (Py_ssize_t i = 0; i < self->count;) {
        Name name = {Py_NewRef(self->lines[i].name), self->lines[i].is_known ? known_names : NULL};
        int is_in = PySet_Contains(canonical_names, name.text);
        if (is_in == 1 && name.text == CONTENT_LENGTH) { /* which comes back at the end */
            is_in = !is_framed_anew;
            is_framed_anew = 1;
        }
        int failed = is_in < 0 || (is_in && remove_named(self, &name) < 0);
        if (!is_in)
            i++;
        Py_DECREF(name.text);
        if (failed)
            return NULL;
    }
    Py_RETURN_NONE;
}

/* Write the elements of an ASCII list but the first, as `", ".join` would: how many octets; -1 if it is not plain. */
static Py_ssize_t
write_rest(const char *at, const char *end, char *out)
{
    Py_ssize_t written = 0;
    for (int element = 0;; element++) {
        const char *comma = memchr(at, ',', (size_t)(end - at)), *stop = comma ? comma : end;
        Py_ssize_t open = 0;
        for (const char *c = at; c < stop; c++)
            open += *c == '<' ? 1 : *c == '>' ? -1 : 0;
        if (open != 0) /* the comma may be inside a URI */
            return -1;
        if (element) {
            const char *last = stop;
            while (at < last && is_space(*at))
                at++;
            while (last > at && is_space(last[-1]))
                last--;
            Py_ssize_t blank = element > 1 ? 2 : 0;
            if (out) {
                memcpy(out + written, ", ", (size_t)blank);
                memcpy(out + written + blank, at, (size_t)(last - at));
            }
            written += blank + (last - at);
        }
        if (!comma)
            return written;
        at = comma + 1;
    }
}

/* Return a list without its first element; None if that is Python's to say. */
static PyObject *
rest_of(PyObject *value)
{
    const char *octets = PyUnicode_IS_ASCII(value) ? PyUnicode_DATA(value) : NULL;
    Py_ssize_t length = PyUnicode_GET_LENGTH(value);
    if (!octets || memchr(octets, '"', (size_t)length))
        Py_RETURN_NONE;
    Py_ssize_t left = write_rest(octets, octets + length, NULL);
    if (left < 0)
        Py_RETURN_NONE;
    PyObject *rest = PyUnicode_New(left, 127);
    if (rest && left)
        write_rest(octets, octets + length, PyUnicode_DATA(rest));
    return rest;
}

/* Put a value, or nothing if that is NULL, in the place of the first element of a name. */
static int
replace_first(Head *self, const Name *name, PyObject *replacement)
{
    Py_ssize_t at = find(self, name, 0);
    if (at < 0)
        return 0;
    PyObject *value = value_of(&self->lines[at]);
    if (!value)
        return -1;
    PyObject *left = NULL; /* what the line will say */
    int is_list = has_comma(value);
    if (!is_list) {
        left = Py_XNewRef(replacement);
    } else if (!replacement) {
        left = rest_of(value);
        if (!left)
            return -1;
        is_list = left == Py_None;
        if (is_list)
            Py_CLEAR(left);
    }
    if (is_list && !left) {
        PyObject *owned = Py_NewRef(value);
        PyObject *elements = elements_of(owned);
        Py_DECREF(owned);
        int failed = !elements || PyList_SetSlice(elements, 0, 1, NULL) < 0
            || (replacement && PyList_Insert(elements, 0, replacement) < 0);
        if (!failed && PyList_GET_SIZE(elements)) {
            PyObject *separator = PyUnicode_FromString(", ");
            left = separator ? PyUnicode_Join(separator, elements) : NULL;
            Py_XDECREF(separator);
            failed = !left;
        }
        Py_XDECREF(elements);
        if (failed)
            return -1;
    }
    Octets octets = {NULL, 0, NULL};
    if (left && encode(left, &octets) < 0) {
        Py_DECREF(left);
        return -1;
    }
    at = find(self, name, 0); /* again: all of the above may have run Python */
    if (at < 0) { /* nobody edits a message while it is split */
        Py_XDECREF(octets.held);
        Py_XDECREF(left);
        return 0;
    }
    if (left) {
        Line line, old = self->lines[at];
        Name own = {Py_NewRef(old.name), old.is_known ? known_names : NULL};
        const char *written = octets_of(&old) + old.start;
        const char *colon = memchr(written, ':', old.length);
        int failed = write_line(&line, &own, written, colon ? colon - written : old.length, &octets, left) < 0;
        Py_XDECREF(octets.held);
        Py_DECREF(left);
        if (failed) {
            Py_DECREF(own.text);
            return -1;
        }
        self->lines[at] = line;
        release(&old);
    } else {
        drop(self, at);
    }
    return edited(self, name);
}

/* Return the typed values of a name without the first one, which is about to go; None if there are none. */
static PyObject *
other_values(Head *self, const Name *name)
{
    Py_ssize_t at = find(self, name, 0);
    if (at >= 0 && self->lines[at].value_length)
        for (Py_ssize_t i = 0; i < self->typed_count; i++)
            if (self->typed[i].name == name->text && PyTuple_CheckExact(self->typed[i].value))
                return PyTuple_GetSlice(self->typed[i].value, 1, PyTuple_GET_SIZE(self->typed[i].value));
    Py_RETURN_NONE;
}

static PyObject *
head_remove_first_value(Head *self, PyObject *text)
{
    Name name;
    if (name_of(text, &name) < 0)
        return NULL;
    PyObject *others = name.known ? other_values(self, &name) : Py_NewRef(Py_None);
    int failed = others ? replace_first(self, &name, NULL) : -1;
    if (failed == 0 && others != Py_None)
        failed = keep(self, name.text, others);
    Py_XDECREF(others);
    Py_DECREF(name.text);
    if (failed < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int
refuse_text_with_line_ends(PyObject *text)
{
    Octets octets;
    if (encode(text, &octets) < 0)
        return -1;
    int refused = refuse_line_ends(&octets);
    Py_XDECREF(octets.held);
    return refused;
}

static PyObject *
head_replace_first_value(Head *self, PyObject *const *arguments, Py_ssize_t count)
{
    Name name;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected a name and a value");
        return NULL;
    }
    if (refuse_text_with_line_ends(arguments[1]) < 0 || name_of(arguments[0], &name) < 0)
        return NULL;
    int failed = replace_first(self, &name, arguments[1]);
    Py_DECREF(name.text);
    if (failed < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
head_replace_via(Head *self, PyObject *via)
{
    Name name = {VIA, known_names};
    PyObject *text = PyObject_Str(via);
    int failed = !text || refuse_text_with_line_ends(text) < 0 || replace_first(self, &name, text) < 0
        || keep(self, VIA, via) < 0;
    Py_XDECREF(text);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

/* Whether a word, which is in lower case, is in a text in any case. */
static int
holds(const char *text, Py_ssize_t length, const char *word)
{
    Py_ssize_t word_length = (Py_ssize_t)strlen(word);
    for (Py_ssize_t i = 0; i + word_length <= length; i++)
        if (is_text(text + i, word_length, word))
            return 1;
    return 0;
}

/* Find the first `;rport` in a Via element that is in the usual form; NULL if it must not be filled in there. */
static const char *
open_rport(const char *text, Py_ssize_t length)
{
    if (memchr(text, ',', (size_t)length) || holds(text, length, "received"))
        return NULL;
    for (const char *at = text; at + 6 <= text + length; at++)
        if (memcmp(at, ";rport", 6) == 0)
            return at + 6 == text + length || at[6] == ';' ? at : NULL;
    return NULL;
}

/* Put the source of a message into the `;rport` of its topmost Via, which is in the usual form. */
static int
fill_rport(Head *self, const char *rport, const char *text, const char *end, PyObject *host, long port)
{
    Name name = {VIA, known_names};
    char number[32];
    PyOS_snprintf(number, sizeof number, ";rport=%ld", port);
    PyObject *before = PyUnicode_DecodeASCII(text, rport - text, NULL);
    PyObject *after = before ? PyUnicode_DecodeASCII(rport + 6, end - (rport + 6), NULL) : NULL;
    PyObject *filled = after ? PyUnicode_FromFormat("%U%s%U;received=%U", before, number, after, host) : NULL;
    int failed = !filled || refuse_text_with_line_ends(filled) < 0 || replace_first(self, &name, filled) < 0;
    Py_XDECREF(before);
    Py_XDECREF(after);
    Py_XDECREF(filled);
    return failed ? -1 : 0;
}

/* Note in the topmost Via where a message came from, and return the port of its responses; 0: that is Python's to do. */
static long
fill_via(Head *self, PyObject *host, long port)
{
    TopVia via = {{NULL, 0}, {NULL, 0}, 0};
    const char *text;
    Py_ssize_t length, host_length;
    const char *address = PyUnicode_AsUTF8AndSize(host, &host_length);
    int found = address ? read_via(self, &via) : -1;
    if (found == 1)
        found = plain_value(first_of(self, VIA), &text, &length);
    if (found != 1)
        return found;
    PyObject *transaction = head_transaction_id(self, NULL); /* which this does not change */
    if (!transaction)
        return -1;
    found = read_via(self, &via); /* again: a key that is Python's to make may have run anything */
    if (found == 1)
        found = plain_value(first_of(self, VIA), &text, &length);
    if (found != 1) {
        Py_DECREF(transaction);
        return found;
    }
    long responses = 0;
    if (!holds(text, length, "rport")) {
        if (via.host.length == host_length && memcmp(via.host.data, address, (size_t)host_length) == 0)
            responses = via.port;
    } else {
        const char *rport = open_rport(text, length);
        if (rport)
            responses = fill_rport(self, rport, text, text + length, host, port) < 0 ? -1 : port;
        Py_XSETREF(self->transaction, Py_NewRef(transaction));
    }
    Py_DECREF(transaction);
    return responses;
}

static PyObject *
head_note_source(Head *self, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2 || !PyUnicode_Check(arguments[0]) || !PyLong_Check(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "expected a host and a port");
        return NULL;
    }
    long port = PyLong_AsLong(arguments[1]);
    if (PyErr_Occurred())
        return NULL;
    long responses = port > 0 ? fill_via(self, arguments[0], port) : 0;
    if (responses < 0)
        return NULL;
    if (responses)
        return PyLong_FromLong(responses);
    return PyObject_CallFunctionObjArgs(note_source, (PyObject *)self, arguments[0], arguments[1], NULL);
}

static PyObject *
head_set_body(Head *self, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2 || !PyBytes_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "expected a body, which is bytes, and its type");
        return NULL;
    }
    Py_XSETREF(self->body, Py_NewRef(arguments[0]));
    if (PyBytes_GET_SIZE(arguments[0]) > 0) {
        PyObject *header[2] = {CONTENT_TYPE, arguments[1]};
        PyObject *written = PyUnicode_FromString("Content-Type");
        if (!written)
            return NULL;
        header[0] = written;
        PyObject *done = edit(self, header, 2, SET);
        Py_DECREF(written);
        if (!done)
            return NULL;
        Py_DECREF(done);
    } else {
        Name name = {CONTENT_TYPE, known_names};
        if (remove_named(self, &name) < 0)
            return NULL;
    }
    if (frame(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
head_copy(Head *self, PyObject *unused)
{
    PyTypeObject *type = Py_TYPE(self);
    Head *twin = (Head *)type->tp_alloc(type, 0);
    if (!twin)
        return NULL;
    Py_ssize_t capacity = self->count + 4; /* what a proxy adds */
    twin->lines = PyMem_Malloc((size_t)capacity * sizeof(Line));
    twin->typed = PyMem_Malloc((size_t)(self->typed_count + 4) * sizeof(Typed));
    if (!twin->lines || !twin->typed) {
        Py_DECREF(twin);
        return PyErr_NoMemory();
    }
    twin->first = Py_XNewRef(self->first);
    twin->second = Py_XNewRef(self->second);
    twin->body = Py_XNewRef(self->body);
    twin->flow = Py_XNewRef(self->flow);
    twin->transaction = Py_XNewRef(self->transaction);
    twin->start_owner = Py_XNewRef(self->start_owner);
    twin->start_at = self->start_at;
    twin->start_length = self->start_length;
    twin->is_framed = self->is_framed;
    if (self->count > 0)
        memcpy(twin->lines, self->lines, (size_t)self->count * sizeof(Line));
    twin->count = self->count;
    twin->capacity = capacity;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        Py_INCREF(twin->lines[i].owner);
        Py_INCREF(twin->lines[i].name);
        Py_XINCREF(twin->lines[i].value);
    }
    twin->typed_capacity = self->typed_count + 4;
    for (Py_ssize_t i = 0; i < self->typed_count; i++)
        twin->typed[i] = (Typed){self->typed[i].name, Py_NewRef(self->typed[i].value)};
    twin->typed_count = self->typed_count;
    return (PyObject *)twin;
}

/* A line with something added at its end, which becomes part of its value. */
static int
extended_line(const Line *line, const Octets *added, Line *longer)
{
    Py_ssize_t length = (Py_ssize_t)line->length + added->length;
    if (length > MAX_OCTETS) {
        PyErr_SetString(PyExc_ValueError, "the line is too long");
        return -1;
    }
    PyObject *owner = PyBytes_FromStringAndSize(NULL, length);
    if (!owner)
        return -1;
    char *out = PyBytes_AS_STRING(owner);
    memcpy(out, octets_of(line) + line->start, line->length);
    memcpy(out + line->length, added->data, (size_t)added->length);
    Known *known;
    *longer = (Line){owner, NULL, NULL, 0, (uint32_t)length, 0, 0, 0, 1};
    if (index_line(longer, &known) == 1)
        return 0;
    Py_DECREF(owner);
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "no header line");
    return -1;
}

/* Put at the top what a response takes over from its request (8.2.6.2). */
static PyObject *
head_answer(Head *self, PyObject *const *arguments, Py_ssize_t count)
{
    Octets added;
    if (count != 2 || !PyObject_TypeCheck(arguments[0], HeadType)) {
        PyErr_SetString(PyExc_TypeError, "expected a request and a text");
        return NULL;
    }
    int overflow, is_trying = PyLong_Check(self->first) && PyLong_AsLongAndOverflow(self->first, &overflow) == 100;
    if (encode(arguments[1], &added) < 0)
        return NULL;
    Head *request = arguments[0] == (PyObject *)self ? (Head *)head_copy(self, NULL) /* whose lines are about to move */
                                                     : (Head *)Py_NewRef(arguments[0]);
    int failed = !request || refuse_line_ends(&added) < 0 || reserve(self, request->count) < 0;
    Py_ssize_t at = 0;
    for (Py_ssize_t i = 0; !failed && i < request->count; i++) {
        Line line = request->lines[i];
        PyObject *name = line.name;
        if (name == TO && added.length > 0) {
            failed = extended_line(&request->lines[i], &added, &line) < 0;
            if (!failed)
                insert(self, at++, line);
        } else if (name == VIA || name == FROM || name == TO || name == CALL_ID || name == CSEQ
                   || (is_trying && name == TIMESTAMP)) { /* 8.2.6.1 */
            Py_INCREF(line.owner);
            Py_INCREF(line.name);
            Py_XINCREF(line.value);
            insert(self, at++, line);
        }
    }
    Py_XDECREF(request);
    Py_XDECREF(added.held);
    while (self->typed_count > 0)
        forget(self, self->typed[0].name);
    Py_CLEAR(self->transaction);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------ making a message */

static int
add_header(Head *self, PyObject *written, PyObject *value)
{
    Name name;
    Line line;
    if (name_of(written, &name) < 0)
        return -1;
    if (name.text == CONTENT_LENGTH) {
        Py_DECREF(name.text);
        return 0;
    }
    if (new_line(&line, &name, written, value) < 0) {
        Py_DECREF(name.text);
        return -1;
    }
    if (reserve(self, 1) < 0) {
        release(&line);
        return -1;
    }
    insert(self, self->count, line);
    return 0;
}

static int
head_init(Head *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"first_part", "second_part", "headers", "body", "content_type", NULL};
    PyObject *first, *second, *headers = NULL, *body = NULL, *content_type = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OU|OSU", names, &first, &second, &headers, &body,
                                     &content_type))
        return -1;
    if (!PyUnicode_Check(first) && !PyLong_Check(first)) {
        PyErr_SetString(PyExc_TypeError, "a start line begins with a method or a status");
        return -1;
    }
    PyObject *iterated = headers ? PySequence_Tuple(headers) : PyTuple_New(0); /* a tuple stays as it is */
    PyObject *own_body = body ? Py_NewRef(body) : PyBytes_FromStringAndSize(NULL, 0);
    int failed = !iterated || !own_body;
    if (!failed) {
        head_clear(self);
        Py_XSETREF(self->first, Py_NewRef(first));
        Py_XSETREF(self->body, Py_NewRef(own_body));
        Py_XSETREF(self->flow, Py_NewRef(Py_None));
        Py_XSETREF(self->second, Py_NewRef(second));
        failed = refuse_text_with_line_ends(second) < 0;
    }
    for (Py_ssize_t i = 0; !failed && i < PyTuple_GET_SIZE(iterated); i++) {
        PyObject *pair = PySequence_Tuple(PyTuple_GET_ITEM(iterated, i));
        failed = !pair;
        if (pair && PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_ValueError, "a header is a name and a value");
            failed = 1;
        }
        failed = failed
            || add_header(self, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1)) < 0;
        Py_XDECREF(pair);
    }
    if (!failed && content_type && PyUnicode_GET_LENGTH(content_type) > 0 && PyBytes_GET_SIZE(own_body) > 0) {
        PyObject *written = PyUnicode_FromString("Content-Type");
        failed = !written || add_header(self, written, content_type) < 0;
        Py_XDECREF(written);
    }
    failed = failed || frame(self) < 0;
    Py_XDECREF(iterated);
    Py_XDECREF(own_body);
    return failed ? -1 : 0;
}

static PyObject *
head_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    Head *self = (Head *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->first = PyUnicode_FromString(""); /* until __init__ has run */
    self->second = Py_XNewRef(self->first);
    self->body = PyBytes_FromStringAndSize(NULL, 0);
    self->flow = Py_NewRef(Py_None);
    if (!self->first || !self->body)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *
head_of_lines(PyObject *type, PyObject *const *arguments, Py_ssize_t count)
{
    Octets start;
    if (count != 4 || !PyList_Check(arguments[3]) || !PyUnicode_Check(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "expected two parts of the start line, the start line and a list of lines");
        return NULL;
    }
    Head *self = (Head *)head_new((PyTypeObject *)type, NULL, NULL);
    if (!self || encode(arguments[2], &start) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
    Py_SETREF(self->first, Py_NewRef(arguments[0]));
    Py_SETREF(self->second, Py_NewRef(arguments[1]));
    self->start_owner = PyBytes_FromStringAndSize(start.data, start.length);
    self->start_length = (uint32_t)start.length;
    Py_XDECREF(start.held);
    int failed = !self->start_owner;
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(arguments[3]); i++) {
        Octets octets;
        Known *known = NULL;
        if (encode(PyList_GET_ITEM(arguments[3], i), &octets) < 0) {
            failed = 1;
            break;
        }
        Line line = {PyBytes_FromStringAndSize(octets.data, octets.length), NULL, NULL, 0, (uint32_t)octets.length,
                     0, 0, 0, 1};
        Py_XDECREF(octets.held);
        int found = line.owner && reserve(self, 1) == 0 ? index_line(&line, &known) : -1;
        if (found == 1) {
            insert(self, self->count, line);
            self->is_framed |= line.name == CONTENT_LENGTH;
        } else {
            if (found == 0)
                fault("malformed header field name", 400, -1);
            Py_XDECREF(line.owner);
            failed = 1;
        }
    }
    if (failed)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* ------------------------------------------------------------------ reading a head */

enum { USUAL_LINES = 64 };

typedef struct {
    PyObject *data;
    Py_ssize_t start_length;
    Line *lines;
    Py_ssize_t count, capacity;
    unsigned flags;
    Line usual[USUAL_LINES];
} Scan;

static void
end_scan(Scan *scan)
{
    for (Py_ssize_t i = 0; i < scan->count; i++)
        Py_XDECREF(scan->lines[i].name), Py_XDECREF(scan->lines[i].value);
    if (scan->lines != scan->usual)
        PyMem_Free(scan->lines);
}

static int
add_line(Scan *scan, Py_ssize_t start, Py_ssize_t end, int is_folded)
{
    if (scan->count == scan->capacity) {
        Py_ssize_t capacity = 4 * scan->capacity;
        int is_usual = scan->lines == scan->usual;
        Line *lines = PyMem_Realloc(is_usual ? NULL : scan->lines, (size_t)capacity * sizeof(Line));
        if (!lines) {
            PyErr_NoMemory();
            return -1;
        }
        if (is_usual)
            memcpy(lines, scan->usual, sizeof scan->usual);
        scan->lines = lines;
        scan->capacity = capacity;
    }
    scan->lines[scan->count++] = (Line){scan->data, NULL, NULL, (uint32_t)start, (uint32_t)(end - start), 0, 0, 0,
                                        (char)is_folded}; /* the owner is borrowed for now */
    return 0;
}

/* Cut a head into lines, folded ones in one piece; no line may end with a bare CR or LF. */
static int
cut_lines(Scan *scan, Py_ssize_t begin, Py_ssize_t end)
{
    const char *octets = PyBytes_AS_STRING(scan->data);
    Py_ssize_t line = begin, at = begin;
    int is_start = 1, is_folded = 0;
    for (;;) {
        const char *cr = memchr(octets + at, '\r', (size_t)(end - at));
        Py_ssize_t stop = cr ? cr - octets : end;
        if (memchr(octets + at, '\n', (size_t)(stop - at)) || (cr && (stop + 1 >= end || octets[stop + 1] != '\n'))) {
            fault("a bare CR or LF in the header fields", 400, -1);
            return -1;
        }
        if (cr && stop + 2 < end && is_blank(octets[stop + 2])) {
            is_folded = 1;
            at = stop + 2;
            continue;
        }
        if (is_start)
            scan->start_length = stop - begin;
        else if (add_line(scan, line, stop, is_folded) < 0)
            return -1;
        if (!cr)
            return 0;
        is_start = is_folded = 0;
        line = at = stop + 2;
    }
}

static int
refuse_nul(const char *octets, Py_ssize_t length)
{
    const char *end = octets + length;
    for (const char *at = octets; (at = memchr(at, 0, (size_t)(end - at))); at++)
        if (at == octets || at[-1] != '\\') { /* 25.1 has NUL in a quoted-pair only */
            fault("a NUL in the header fields", 400, -1);
            return -1;
        }
    return 0;
}

/* Whether octets are more characters than a line may have. */
static int
is_too_long(const char *octets, Py_ssize_t length)
{
    if (length <= MAX_LINE)
        return 0;
    PyObject *text = PyUnicode_DecodeUTF8(octets, length, "surrogateescape");
    if (!text)
        return -1;
    int is_long = PyUnicode_GET_LENGTH(text) > MAX_LINE;
    Py_DECREF(text);
    return is_long;
}

static int
refuse_long_lines(Scan *scan, const char *start, Py_ssize_t length)
{
    int is_long = length > MAX_LINE ? is_too_long(start, scan->start_length) : 0;
    for (Py_ssize_t i = 0; length > MAX_LINE && !is_long && i < scan->count; i++)
        is_long = is_too_long(octets_of(&scan->lines[i]) + scan->lines[i].start, scan->lines[i].length);
    if (is_long > 0)
        fault("a line is too long", 513, -1);
    return is_long ? -1 : 0;
}

/* Find names and values, and hold the names against 7.3.1 and 8.1.1. */
static int
index_lines(Scan *scan, const char *start, Py_ssize_t length)
{
    unsigned singles = 0, repeated = 0;
    scan->flags = 0;
    for (Py_ssize_t i = 0; i < scan->count; i++) {
        Known *known = NULL;
        int found = index_line(&scan->lines[i], &known);
        if (found < 0)
            return -1;
        if (found == 0) {
            const Line *line = &scan->lines[i];
            int has_colon = memchr(octets_of(line) + line->start, ':', line->length) != NULL;
            fault(has_colon ? "malformed header field name" : "a header field without a colon", 400, -1);
            return -1;
        }
        if (known) {
            scan->flags |= known->flags;
            repeated |= singles & known->single;
            singles |= known->single;
        }
    }
    if (scan->count > MAX_HEADERS) {
        fault("too many header fields", 513, -1);
        return -1;
    }
    if (refuse_long_lines(scan, start, length) < 0)
        return -1;
    unsigned missing = MANDATORY & ~scan->flags;
    if (missing) {
        fault(missing & HAS_CALL_ID ? "no call-id header field"
              : missing & HAS_CSEQ ? "no cseq header field"
              : missing & HAS_FROM ? "no from header field"
              : missing & HAS_TO ? "no to header field" : "no via header field", 400, -1);
        return -1;
    }
    if (repeated) {
        fault("a header field that may come once came more often", 400, -1);
        return -1;
    }
    return 0;
}

/* Read "SIP/2.0": where it ends, or NULL if it is no version; `is_ours` tells whether it is 2.0. */
static const char *
read_version(const char *at, const char *end, int *is_ours)
{
    const char *begin = at;
    if (end - at < 4 || !is_text(at, 4, "sip/"))
        return NULL;
    const char *major = at += 4;
    while (at < end && IS(DIGIT, *at))
        at++;
    if (at == major || at == end || *at != '.')
        return NULL;
    const char *minor = ++at;
    while (at < end && IS(DIGIT, *at))
        at++;
    if (at == minor)
        return NULL;
    *is_ours = is_text(begin, at - begin, "sip/2.0");
    return at;
}

typedef struct {
    Span method, uri; /* of a request; the method's data is NULL in a response */
    int status;
    Span reason;
} StartLine;

static int
refuse_version(void)
{
    fault("the SIP version is not 2.0", 505, -1);
    return -1;
}

static int
read_status_line(const char *at, const char *end, StartLine *start)
{
    int is_ours;
    at = read_version(at, end, &is_ours);
    if (!at || end - at < 4 || at[0] != ' ' || at[1] < '1' || at[1] > '6' || !IS(DIGIT, at[2]) || !IS(DIGIT, at[3])
        || (end - at > 4 && at[4] != ' ') || memchr(at, '\r', (size_t)(end - at))) {
        fault("malformed status line", 400, -1);
        return -1;
    }
    if (!is_ours)
        return refuse_version();
    start->method.data = NULL;
    start->status = (at[1] - '0') * 100 + (at[2] - '0') * 10 + (at[3] - '0');
    start->reason = end - at > 4 ? (Span){at + 5, end - at - 5} : (Span){at + 4, 0};
    return 0;
}

static int
read_request_line(const char *at, const char *end, StartLine *start)
{
    int is_ours = 0;
    start->method.data = at;
    while (at < end && IS(TOKEN, *at))
        at++;
    start->method.length = at - start->method.data;
    if (start->method.length == 0 || at == end || *at++ != ' ')
        goto malformed;
    start->uri.data = at;
    if (at == end || !IS(ALPHA, *at))
        goto malformed;
    while (at < end && IS(SCHEME, *at))
        at++;
    if (at == end || *at++ != ':')
        goto malformed;
    const char *rest = at;
    while (at < end && IS(URI, *at))
        at++;
    start->uri.length = at - start->uri.data;
    if (at == rest || at == end || *at++ != ' ' || !(at = read_version(at, end, &is_ours)) || at != end)
        goto malformed;
    return is_ours ? 0 : refuse_version();
malformed:
    fault("malformed request line", 400, -1);
    return -1;
}

/* Hold a request's method against its CSeq (8.1.1.5). */
static int
check_cseq(Scan *scan, Span method)
{
    Line *line = NULL;
    for (Py_ssize_t i = 0; !line && i < scan->count; i++)
        if (scan->lines[i].name == CSEQ)
            line = &scan->lines[i];
    const char *octets, *named;
    Py_ssize_t length, named_length;
    long long number;
    int is_plain = plain_value(line, &octets, &length), is_same, is_known;
    if (is_plain < 0)
        return -1;
    if (is_plain && read_cseq(octets, length, &number, &named, &named_length)) {
        is_same = named_length == method.length && memcmp(named, method.data, (size_t)method.length) == 0;
    } else { /* CSeq.parse says what is wrong */
        PyObject *value = value_of(line);
        PyObject *cseq = value ? PyObject_CallMethod(CSeq, "parse", "O", value) : NULL;
        PyObject *text = cseq ? PyObject_GetAttrString(cseq, "method") : NULL;
        PyObject *own = text ? text_of(method) : NULL;
        is_same = own ? PyObject_RichCompareBool(text, own, Py_EQ) : -1;
        Py_XDECREF(cseq);
        Py_XDECREF(text);
        Py_XDECREF(own);
        if (is_same < 0)
            return -1;
    }
    if (is_same)
        return 0;
    PyObject *name = method_of(method.data, method.length, &is_known);
    if (!name)
        return -1;
    Py_DECREF(name);
    fault("the CSeq method is not the request's", is_known ? 400 : 501, -1); /* RFC 4475 3.1.2.18 */
    return -1;
}

/* Read what Content-Length says, -1 if it is not there. */
static int
read_content_length(Scan *scan, long long *body_length)
{
    *body_length = -1;
    if (!(scan->flags & HAS_CONTENT_LENGTH))
        return 0;
    Line *line = scan->lines;
    while (line->name != CONTENT_LENGTH)
        line++;
    const char *octets;
    Py_ssize_t length;
    int is_plain = plain_value(line, &octets, &length);
    if (is_plain < 0)
        return -1;
    int is_number = is_plain && length > 0 && length <= 10;
    long long number = 0;
    for (Py_ssize_t i = 0; is_number && i < length; i++) {
        is_number = IS(DIGIT, octets[i]) != 0;
        number = number * 10 + (octets[i] - '0');
    }
    if (!is_number) {
        fault("malformed Content-Length", 400, -1);
        return -1;
    }
    *body_length = number;
    return 0;
}

static Head *
new_head(Scan *scan, Py_ssize_t begin, const StartLine *start, PyTypeObject *type)
{
    int is_known;
    Head *head = (Head *)type->tp_alloc(type, 0);
    if (!head)
        return NULL;
    Py_ssize_t capacity = scan->count + 4;
    head->lines = PyMem_Malloc((size_t)capacity * sizeof(Line));
    if (!head->lines) {
        Py_DECREF(head);
        PyErr_NoMemory();
        return NULL;
    }
    head->capacity = capacity;
    head->count = scan->count;
    memcpy(head->lines, scan->lines, (size_t)scan->count * sizeof(Line));
    for (Py_ssize_t i = 0; i < head->count; i++)
        Py_INCREF(head->lines[i].owner);
    scan->count = 0; /* the names are the head's now */
    if (start->method.data) {
        head->first = method_of(start->method.data, start->method.length, &is_known);
        head->second = text_of(start->uri);
    } else {
        head->first = PyLong_FromLong(start->status);
        head->second = text_of(start->reason);
    }
    head->start_owner = Py_NewRef(scan->data);
    head->start_at = (uint32_t)begin;
    head->start_length = (uint32_t)scan->start_length;
    head->is_framed = (scan->flags & HAS_CONTENT_LENGTH) != 0;
    head->flow = Py_NewRef(Py_None);
    head->body = PyBytes_FromStringAndSize(NULL, 0);
    if (!head->first || !head->second || !head->body)
        Py_CLEAR(head);
    return head;
}

/* Read start line and header lines; `body_length` is what Content-Length says, -1 if it is not there. */
static Head *
read_head(PyObject *data, Py_ssize_t begin, Py_ssize_t end, PyObject *request, PyObject *response,
          long long *body_length)
{
    Scan scan;
    Head *head = NULL;
    StartLine start = {{NULL, 0}, {NULL, 0}, 0, {NULL, 0}};
    const char *octets = PyBytes_AS_STRING(data) + begin;
    scan.data = data;
    scan.lines = scan.usual;
    scan.count = 0;
    scan.capacity = USUAL_LINES;
    if (cut_lines(&scan, begin, end) < 0 || refuse_nul(octets, end - begin) < 0
        || index_lines(&scan, octets, end - begin) < 0)
        goto done;
    const char *start_end = octets + scan.start_length;
    int is_response = scan.start_length >= 4 && is_text(octets, 4, "sip/");
    if ((is_response ? read_status_line : read_request_line)(octets, start_end, &start) < 0)
        goto done;
    if (!is_response && check_cseq(&scan, start.method) < 0)
        goto done;
    if (read_content_length(&scan, body_length) < 0)
        goto done;
    head = new_head(&scan, begin, &start, (PyTypeObject *)(is_response ? response : request));
done:
    end_scan(&scan);
    return head;
}

static int
check_types(PyObject *data, PyObject *request, PyObject *response)
{
    if (!PyBytes_Check(data)) {
        PyErr_SetString(PyExc_TypeError, "a message is bytes");
        return -1;
    }
    if (!PyType_Check(request) || !PyType_IsSubtype((PyTypeObject *)request, HeadType) || !PyType_Check(response)
        || !PyType_IsSubtype((PyTypeObject *)response, HeadType)) {
        PyErr_SetString(PyExc_TypeError, "expected the classes of messages");
        return -1;
    }
    return 0;
}

/* parse_head(head, Request, Response) -> (message, what Content-Length says or None) */
static PyObject *
scan_parse_head(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "expected a head and two classes");
        return NULL;
    }
    if (check_types(arguments[0], arguments[1], arguments[2]) < 0)
        return NULL;
    if (PyBytes_GET_SIZE(arguments[0]) > MAX_OCTETS)
        return fault("the message is too large", 513, -1);
    long long length;
    Head *head = read_head(arguments[0], 0, PyBytes_GET_SIZE(arguments[0]), arguments[1], arguments[2], &length);
    if (!head)
        return NULL;
    return length < 0 ? Py_BuildValue("(NO)", head, Py_None) : Py_BuildValue("(NL)", head, length);
}

/* parse(data, datagram, Request, Response) -> message */
static PyObject *
scan_parse(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "expected a message, whether it is a datagram, and two classes");
        return NULL;
    }
    PyObject *data = arguments[0];
    int is_datagram = PyObject_IsTrue(arguments[1]);
    if (is_datagram < 0 || check_types(data, arguments[2], arguments[3]) < 0)
        return NULL;
    Py_ssize_t size = PyBytes_GET_SIZE(data), start = 0;
    const char *octets = PyBytes_AS_STRING(data);
    if (size > MAX_MESSAGE_BYTES)
        return fault("the message is too large", 513, -1);
    while (size - start >= 2 && octets[start] == '\r' && octets[start + 1] == '\n') /* 7.5 */
        start += 2;
    Py_ssize_t end = -1;
    for (const char *at = octets + start; (at = memchr(at, '\n', (size_t)(octets + size - at))); at++)
        if (octets + size - at >= 3 && at - octets > start && at[-1] == '\r' && at[1] == '\r' && at[2] == '\n') {
            end = at - 1 - octets;
            break;
        }
    if (end < 0)
        return fault("no empty line after the header fields", 400, size);
    long long length;
    Head *head = read_head(data, start, end, arguments[2], arguments[3], &length);
    if (!head)
        return NULL;
    Py_ssize_t body_length = size - end - 4;
    if (length >= 0 && length != body_length) {
        if (length > body_length || !is_datagram) {
            Py_DECREF(head);
            return length > body_length
                ? fault("the body is shorter than Content-Length says", 400, size)
                : fault("the body is longer than Content-Length says", 400, end + 4 + (Py_ssize_t)length);
        }
        body_length = (Py_ssize_t)length;
    }
    if (body_length > 0) {
        PyObject *body = PyBytes_FromStringAndSize(octets + end + 4, body_length);
        if (!body) {
            Py_DECREF(head);
            return NULL;
        }
        Py_SETREF(head->body, body);
    }
    return (PyObject *)head;
}

/* ------------------------------------------------------------------ the module */

static PyMethodDef head_methods[] = {
    {"get", (PyCFunction)head_get, METH_O, NULL},
    {"get_all", (PyCFunction)head_get_all, METH_O, NULL},
    {"values", (PyCFunction)head_values, METH_O, NULL},
    {"has", (PyCFunction)head_has, METH_O, NULL},
    {"has_any", (PyCFunction)head_has_any, METH_O, NULL},
    {"copy", (PyCFunction)head_copy, METH_NOARGS, NULL},
    {"set", (PyCFunction)(void (*)(void))head_set, METH_FASTCALL, NULL},
    {"prepend", (PyCFunction)(void (*)(void))head_prepend, METH_FASTCALL, NULL},
    {"append", (PyCFunction)(void (*)(void))head_append, METH_FASTCALL, NULL},
    {"remove", (PyCFunction)head_remove, METH_O, NULL},
    {"remove_all", (PyCFunction)head_remove_all, METH_O, NULL},
    {"remove_first_value", (PyCFunction)head_remove_first_value, METH_O, NULL},
    {"replace_first_value", (PyCFunction)(void (*)(void))head_replace_first_value, METH_FASTCALL, NULL},
    {"replace_via", (PyCFunction)head_replace_via, METH_O, NULL},
    {"note_source", (PyCFunction)(void (*)(void))head_note_source, METH_FASTCALL, NULL},
    {"set_body", (PyCFunction)(void (*)(void))head_set_body, METH_FASTCALL, NULL},
    {"answer", (PyCFunction)(void (*)(void))head_answer, METH_FASTCALL, NULL},
    {"assign_to", (PyCFunction)head_assign_to, METH_O, NULL},
    {"of_lines", (PyCFunction)(void (*)(void))head_of_lines, METH_FASTCALL | METH_CLASS, NULL},
    {"__bytes__", (PyCFunction)head_bytes, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef head_members[] = {
    {"first_part", T_OBJECT_EX, offsetof(Head, first), READONLY, NULL},
    {"body", T_OBJECT_EX, offsetof(Head, body), 0, NULL},
    {"flow", T_OBJECT_EX, offsetof(Head, flow), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef head_properties[] = {
    {"start_line", (getter)head_start_line, NULL, NULL, NULL},
    {"second_part", (getter)head_second_part, (setter)head_set_second_part, NULL, NULL},
    {"size", (getter)head_size, NULL, NULL, NULL},
    {"branch", (getter)head_branch, NULL, NULL, NULL},
    {"from_tag", (getter)head_from_tag, NULL, NULL, NULL},
    {"to_tag", (getter)head_to_tag, NULL, NULL, NULL},
    {"transaction_id", (getter)head_transaction_id, NULL, NULL, NULL},
    {"client_transaction_id", (getter)head_client_transaction_id, NULL, NULL, NULL},
    {"invite_transaction_id", (getter)head_invite_transaction_id, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot head_slots[] = {
    {Py_tp_doc, "The head of a message, see head.py."},
    {Py_tp_new, head_new},
    {Py_tp_init, head_init},
    {Py_tp_dealloc, head_dealloc},
    {Py_tp_traverse, head_traverse},
    {Py_tp_clear, head_clear},
    {Py_tp_repr, head_repr},
    {Py_tp_richcompare, head_richcompare},
    {Py_tp_hash, PyObject_HashNotImplemented}, /* a message may change */
    {Py_tp_methods, head_methods},
    {Py_tp_members, head_members},
    {Py_tp_getset, head_properties},
    {0, NULL},
};

static PyType_Spec head_spec = {
    "opencscf.common.sip._scan.Head", sizeof(Head), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, head_slots,
};

/* A field lives as long as the class it stands in, so the cyclic collector has no business with it. */
#define FIELD(name, init)                                                                                            \
    static PyType_Slot name##_slots[] = {                                                                            \
        {Py_tp_new, PyType_GenericNew}, {Py_tp_init, init}, {Py_tp_dealloc, field_dealloc},                          \
        {Py_tp_descr_get, field_get}, {0, NULL},                                                                     \
    };                                                                                                               \
    static PyType_Spec name##_spec = {                                                                               \
        "opencscf.common.sip._scan." #name, sizeof(Field), 0, Py_TPFLAGS_DEFAULT, name##_slots,                      \
    };

FIELD(Required, required_init)
FIELD(Optional, optional_init)
FIELD(Many, many_init)

static PyObject *
scan_use(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected two functions");
        return NULL;
    }
    Py_XSETREF(transaction_key, Py_NewRef(arguments[0]));
    Py_XSETREF(note_source, Py_NewRef(arguments[1]));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"parse", (PyCFunction)(void (*)(void))scan_parse, METH_FASTCALL, NULL},
    {"parse_head", (PyCFunction)(void (*)(void))scan_parse_head, METH_FASTCALL, NULL},
    {"use", (PyCFunction)(void (*)(void))scan_use, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

/* Import an attribute of a module of ours. */
static PyObject *
imported(const char *module, const char *name)
{
    PyObject *found = PyImport_ImportModule(module);
    PyObject *attribute = found ? PyObject_GetAttrString(found, name) : NULL;
    Py_XDECREF(found);
    return attribute;
}

static int
take_names(void)
{
    PyObject *spelling, *canonical, *methods = imported("opencscf.common.sip.names", "METHODS");
    PyObject *iterator = methods ? PyObject_GetIter(methods) : NULL;
    Py_XDECREF(methods);
    if (!iterator)
        return -1;
    while (method_count < 32 && (method_names[method_count] = PyIter_Next(iterator)))
        method_count++;
    Py_DECREF(iterator);
    for (Py_ssize_t at = 0; PyDict_Next(spellings, &at, &spelling, &canonical);) {
        Py_ssize_t length;
        const char *octets = PyUnicode_AsUTF8AndSize(spelling, &length);
        if (!octets)
            return -1;
        add_known(canonical, octets, length);
    }
    const struct { PyObject **held; const char *name; } wanted[] = {
        {&VIA, "via"}, {&FROM, "from"}, {&TO, "to"}, {&CALL_ID, "call-id"}, {&CSEQ, "cseq"},
        {&CONTENT_LENGTH, "content-length"}, {&CONTENT_TYPE, "content-type"}, {&TIMESTAMP, "timestamp"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!(*wanted[i].held = Py_XNewRef(PyDict_GetItemString(spellings, wanted[i].name)))) {
            PyErr_Format(PyExc_ImportError, "names.py does not know %s", wanted[i].name);
            return -1;
        }
    return PyErr_Occurred() ? -1 : 0;
}

enum { TYPES = 4 };
static PyObject *types[TYPES];

/* Make the types. They and all else here are of one interpreter and stay for good. */
static int
make_types(void)
{
    static PyType_Spec *const specs[] = {&head_spec, &Required_spec, &Optional_spec, &Many_spec};
    fill_classes();
    method_count = 0;
    if (!(ParseError = imported("opencscf.common.errors", "ParseError"))
        || !(CSeq = imported("opencscf.common.sip.headers", "CSeq"))
        || !(split_elements = imported("opencscf.common.sip.params", "split_elements"))
        || !(spellings = imported("opencscf.common.sip.names", "KNOWN")) || take_names() < 0)
        return -1;
    for (size_t i = 0; i < TYPES; i++)
        if (!types[i] && !(types[i] = PyType_FromSpec(specs[i])))
            return -1;
    HeadType = (PyTypeObject *)types[0];
    return 0;
}

static int
fill_module(PyObject *module)
{
    static const char *const names[] = {"Head", "Required", "Optional", "Many"};
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) { /* which has the Python form */
        PyErr_SetString(PyExc_ImportError, "the C twin is for the main interpreter");
        return -1;
    }
    if (!HeadType && make_types() < 0)
        return -1;
    for (size_t i = 0; i < TYPES; i++)
        if (PyModule_AddObjectRef(module, names[i], types[i]) < 0)
            return -1;
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, fill_module},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_scan", "The C twin of head.py.", 0, functions,
                                        module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC
PyInit__scan(void)
{
    return PyModuleDef_Init(&definition);
}
