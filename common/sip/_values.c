/* The C twin of what params.py, uri.py and headers.py do most: values in their usual form, and a look at parameters.
 *
 * The Python form is the reference. A function that reads a text returns None for every one that is not in the usual
 * form, be it malformed or only unusual: then the general parser has to judge. All texts are ASCII here, others are
 * unusual, so every index is an octet.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#if PY_VERSION_HEX >= 0x030C0000
#define IS_READY(text) 1 /* as every text is */
#else
#define IS_READY(text) (PyUnicode_READY(text) == 0)
#endif

enum {
    TOKEN = 1,       /* RFC 3261 25.1 */
    VALUE = 2,       /* of a header field parameter without quotes */
    HOST = 4,        /* a name or an IPv4 address */
    USER = 8,        /* of a SIP URI, nothing escaped */
    URI_PARAM = 16,  /* of a SIP URI, nothing escaped */
    BRACKETED = 32,  /* the URI of a name-addr */
    SCHEME = 64,     /* of a URI, after its first letter */
    AUTH_NAME = 128, /* of a parameter of credentials, in lower case */
};

#define ALPHANUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define UNRESERVED ALPHANUM "-_.!~*'()"
#define SPACES " \t\n\r\f\v"

static unsigned char kinds[256];

static const char *const NAMES[] = {
    "branch", "rport", "received", "tag", "lr", "transport", "expires", "q", "user", "orig", "maddr", "tok", "username",
    "realm", "nonce", "uri", "response", "algorithm", "qop", "nc", "cnonce", "opaque", "auts", "integrity-protected",
    "sip", "sips", "UDP", "TCP", "TLS", "WS", "WSS", "Digest", "yes", "udp", "tcp", "icid-value", "icid-generated-at",
};
#define KNOWN ((Py_ssize_t)(sizeof NAMES / sizeof NAMES[0]))
static PyObject *known[sizeof NAMES / sizeof NAMES[0]];
static PyObject *empty;

static void
mark(const char *characters, int kind)
{
    for (const char *c = characters; *c; c++) {
        kinds[(unsigned char)*c] |= (unsigned char)kind;
    }
}

static void
mark_all_but(const char *characters, int kind)
{
    for (int c = 0; c < 128; c++) {
        if (c == 0 || strchr(characters, c) == NULL) {
            kinds[c] |= (unsigned char)kind;
        }
    }
}

/* Where a run of characters of a kind ends. */
static const char *
after(const char *from, const char *end, int kind)
{
    while (from < end && (kinds[(unsigned char)*from] & kind)) {
        from++;
    }
    return from;
}

/* A new reference; a word that every message has is the same object each time. */
static PyObject *
string(const char *from, const char *end)
{
    size_t length = (size_t)(end - from);
    for (Py_ssize_t i = 0; i < KNOWN; i++) {
        if (NAMES[i][0] == *from && strlen(NAMES[i]) == length && memcmp(NAMES[i], from, length) == 0) {
            return Py_NewRef(known[i]);
        }
    }
    return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, from, (Py_ssize_t)length);
}

static PyObject *
plain_string(const char *from, const char *end)
{
    return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, from, (Py_ssize_t)(end - from));
}

/* The octets of a text, NULL if it is not all ASCII. */
static const char *
ascii(PyObject *text, const char **end)
{
    if (!PyUnicode_Check(text) || !IS_READY(text) || !PyUnicode_IS_ASCII(text)) {
        return NULL;
    }
    const char *from = (const char *)PyUnicode_1BYTE_DATA(text);
    *end = from + PyUnicode_GET_LENGTH(text);
    return from;
}

/* A value of a subclass of tuple; it takes over the references of the fields, of which none may be NULL. */
static PyObject *
record(PyTypeObject *type, PyObject **fields, Py_ssize_t size)
{
    int is_whole = 1;
    for (Py_ssize_t i = 0; i < size; i++) {
        is_whole &= fields[i] != NULL;
    }
    PyObject *made = is_whole ? type->tp_alloc(type, size) : NULL;
    for (Py_ssize_t i = 0; i < size; i++) {
        if (made != NULL) {
            PyTuple_SET_ITEM(made, i, fields[i]);
        }
        else {
            Py_XDECREF(fields[i]);
        }
    }
    return made;
}

/* One parameter, of which the semicolon is behind us; NULL without an exception if it is not in the usual form. */
static PyObject *
parameter(const char **position, const char *end, int is_uri)
{
    const char *name = *position;
    const char *name_end = after(name, end, is_uri ? URI_PARAM : TOKEN);
    if (name_end == name) {
        return NULL;
    }
    const char *value = name_end, *value_end = name_end;
    int has_value = name_end < end && *name_end == '=';
    if (has_value) {
        value = name_end + 1;
        if (is_uri) {
            value_end = after(value, end, URI_PARAM);
        }
        else if (value < end && *value == '"') {
            value_end = value + 1;
            while (value_end < end && *value_end != '"' && *value_end != '\\' && *value_end != ';') {
                value_end++;
            }
            if (value_end == end || *value_end != '"') {
                return NULL;
            }
            value_end++;
        }
        else {
            value_end = after(value, end, VALUE);
            if (value_end == value) {
                return NULL;
            }
        }
    }
    if (value_end < end && *value_end != ';') {
        return NULL;
    }
    *position = value_end;
    PyObject *pair[] = {
        string(name, name_end),
        !has_value ? Py_NewRef(Py_None) : value == value_end ? Py_NewRef(empty) : plain_string(value, value_end),
    };
    return record(&PyTuple_Type, pair, 2);
}

/* All parameters from the first semicolon to the end; `none` is the empty one, of the type to be made. */
static PyObject *
parameters(PyObject *none, const char *from, const char *end, int is_uri)
{
    if (from == end) {
        return Py_NewRef(none);
    }
    Py_ssize_t count = 0;
    for (const char *c = from; c < end; c++) {
        count += *c == ';';
    }
    if (*from != ';') {
        return NULL;
    }
    PyTypeObject *type = Py_TYPE(none);
    PyObject *made = type->tp_alloc(type, count);
    if (made == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) { /* as many as semicolons: no parameter in the usual form has one inside */
        from++;
        PyObject *pair = parameter(&from, end, is_uri);
        if (pair == NULL) {
            Py_DECREF(made);
            return NULL;
        }
        PyTuple_SET_ITEM(made, i, pair);
    }
    return made;
}

/* A port if there is one; returns where it ends, NULL if it is none. */
static const char *
port_number(const char *from, const char *end, long *port)
{
    *port = 0;
    if (from == end || *from != ':') {
        return from;
    }
    const char *digit = from + 1;
    while (digit < end && '0' <= *digit && *digit <= '9' && digit - from <= 5) {
        *port = *port * 10 + (*digit++ - '0');
    }
    return 0 < *port && *port < 65536 ? digit : NULL;
}

static PyObject *
port_object(long port)
{
    return port ? PyLong_FromLong(port) : Py_NewRef(Py_None);
}

static PyObject *
upper(const char *from, const char *end)
{
    for (const char *c = from; c < end; c++) {
        if ('a' <= *c && *c <= 'z') {
            PyObject *text = PyUnicode_New(end - from, 127);
            if (text != NULL) {
                char *to = (char *)PyUnicode_1BYTE_DATA(text);
                for (c = from; c < end; c++) {
                    *to++ = (char)('a' <= *c && *c <= 'z' ? *c - 32 : *c);
                }
            }
            return text;
        }
    }
    return string(from, end);
}

/* Whether values of a type may be made as tuples: a struct sequence, such as time.struct_time, has room for more. */
static int
is_record(PyObject *type)
{
    return PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, &PyTuple_Type)
        && PyType_HasFeature((PyTypeObject *)type, Py_TPFLAGS_HEAPTYPE) && Py_SIZE(type) == 0; /* no members of C */
}

/* Check the arguments (type of the value, the empty parameters, text) and find the text's octets; 0 if unusable. */
static int
arguments(PyObject *const *args, Py_ssize_t count, const char **from, const char **end)
{
    if (count != 3 || !is_record(args[0]) || !PyTuple_Check(args[1]) || PyTuple_GET_SIZE(args[1]) != 0
        || !PyUnicode_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "expected a subclass of tuple, the empty parameters, and a text");
        return 0;
    }
    *from = ascii(args[2], end);
    return *from != NULL;
}

static PyObject *
none_unless_error(void)
{
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(via_doc, "via(type, no_params, text)\n--\n\nRead one Via element.");

static PyObject *
via(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    const char *from, *end;
    if (!arguments(args, count, &from, &end) || end - from < 8 || memcmp(from, "SIP/2.0/", 8) != 0) {
        return none_unless_error();
    }
    const char *transport = from + 8;
    const char *transport_end = after(transport, end, TOKEN);
    if (transport_end == transport || transport_end == end || *transport_end != ' ') {
        return none_unless_error();
    }
    const char *host = transport_end + 1;
    const char *host_end = after(host, end, HOST);
    long port;
    const char *rest = host_end > host ? port_number(host_end, end, &port) : NULL;
    if (rest == NULL) {
        return none_unless_error();
    }
    PyObject *params = parameters(args[1], rest, end, 0);
    if (params == NULL) {
        return none_unless_error();
    }
    PyObject *fields[] = {upper(transport, transport_end), plain_string(host, host_end), port_object(port), params};
    return record((PyTypeObject *)args[0], fields, 4);
}

PyDoc_STRVAR(name_addr_doc, "name_addr(type, no_params, text)\n--\n\nRead a name-addr without a display name.");

static PyObject *
name_addr(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    const char *from, *end;
    if (!arguments(args, count, &from, &end) || from == end || *from != '<') {
        return none_unless_error();
    }
    const char *uri = from + 1;
    const char *scheme_end = uri;
    if (uri < end && (('a' <= *uri && *uri <= 'z') || ('A' <= *uri && *uri <= 'Z'))) {
        scheme_end = after(uri, end, SCHEME);
    }
    if (scheme_end == uri || scheme_end == end || *scheme_end != ':') {
        return none_unless_error();
    }
    const char *uri_end = after(scheme_end + 1, end, BRACKETED);
    if (uri_end == scheme_end + 1 || uri_end == end || *uri_end != '>') {
        return none_unless_error();
    }
    PyObject *params = parameters(args[1], uri_end + 1, end, 0);
    if (params == NULL) {
        return none_unless_error();
    }
    PyObject *fields[] = {plain_string(uri, uri_end), Py_NewRef(empty), params};
    return record((PyTypeObject *)args[0], fields, 3);
}

PyDoc_STRVAR(sip_uri_doc, "sip_uri(type, no_params, text)\n--\n\nRead a SIP or SIPS URI without password and headers.");

static PyObject *
sip_uri(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    const char *from, *end;
    if (!arguments(args, count, &from, &end) || end - from < 4 || memcmp(from, "sip", 3) != 0) {
        return none_unless_error();
    }
    const char *scheme_end = from + (from[3] == 's' ? 4 : 3);
    if (scheme_end == end || *scheme_end != ':') {
        return none_unless_error();
    }
    const char *user = scheme_end + 1;
    const char *user_end = after(user, end, USER);
    int has_user = user_end > user && user_end < end && *user_end == '@';
    const char *host = has_user ? user_end + 1 : user;
    const char *host_end = host;
    while (host_end < end && ((kinds[(unsigned char)*host_end] & HOST) || *host_end == '_')) {
        host_end++;
    }
    long port;
    const char *rest = host_end > host ? port_number(host_end, end, &port) : NULL;
    if (rest == NULL) {
        return none_unless_error();
    }
    PyObject *params = parameters(args[1], rest, end, 1);
    if (params == NULL) {
        return none_unless_error();
    }
    PyObject *fields[] = {
        string(from, scheme_end),
        has_user ? plain_string(user, user_end) : Py_NewRef(Py_None),
        Py_NewRef(Py_None),
        plain_string(host, host_end),
        port_object(port),
        params,
        Py_NewRef(args[1]),
    };
    return record((PyTypeObject *)args[0], fields, 7);
}

PyDoc_STRVAR(params_doc, "params(no_params, text)\n--\n\nRead the parameters of a header field, from their first semicolon.");

static PyObject *
params(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyTuple_Check(args[0]) || PyTuple_GET_SIZE(args[0]) != 0 || !PyUnicode_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "expected the empty parameters and a text");
        return NULL;
    }
    const char *end;
    const char *from = ascii(args[1], &end);
    PyObject *made = from == NULL ? NULL : parameters(args[0], from, end, 0);
    return made != NULL ? made : none_unless_error();
}

/* One `name=value` of credentials into the dictionary; returns where it ends, NULL if it is unusual or memory is out. */
static const char *
auth_param(PyObject *found, const char *from, const char *end)
{
    const char *name_end = after(from, end, AUTH_NAME);
    if (name_end == from || name_end == end || *name_end != '=') {
        return NULL;
    }
    const char *value = name_end + 1, *value_end, *next;
    if (value < end && *value == '"') {
        value_end = ++value;
        while (value_end < end && *value_end != '"' && *value_end != '\\') {
            value_end++;
        }
        if (value_end == end || *value_end != '"') {
            return NULL;
        }
        next = value_end + 1;
    }
    else {
        value_end = value;
        while (value_end < end && *value_end != '"' && *value_end != ',' && strchr(SPACES, *value_end) == NULL) {
            value_end++;
        }
        next = value_end;
        if (value_end == value) {
            return NULL;
        }
    }
    PyObject *name = string(from, name_end);
    PyObject *text = name == NULL ? NULL : plain_string(value, value_end);
    int status = text == NULL ? -1 : PyDict_SetItem(found, name, text);
    Py_XDECREF(name);
    Py_XDECREF(text);
    return status < 0 ? NULL : next;
}

PyDoc_STRVAR(auth_doc, "auth(text)\n--\n\nRead the scheme and parameters of a challenge or of credentials.");

static PyObject *
auth(PyObject *Py_UNUSED(module), PyObject *text)
{
    const char *end;
    const char *from = ascii(text, &end);
    const char *scheme_end = from == NULL ? NULL : after(from, end, TOKEN);
    if (from == NULL || scheme_end == from || scheme_end == end || *scheme_end != ' ') {
        return none_unless_error();
    }
    PyObject *found = PyDict_New();
    const char *position = found == NULL ? NULL : scheme_end + 1;
    Py_ssize_t count = 0;
    while (position != NULL) {
        position = auth_param(found, position, end);
        count++;
        if (position == NULL || position == end) {
            break;
        }
        if (*position++ != ',') {
            position = NULL;
        }
        else if (position < end) { /* a last comma is allowed, but nothing after it */
            while (position < end && *position == ' ') {
                position++;
            }
        }
        else {
            break;
        }
    }
    if (position == NULL || PyDict_GET_SIZE(found) != count) { /* unusual, or a name is repeated */
        Py_XDECREF(found);
        return none_unless_error();
    }
    PyObject *fields[] = {string(from, scheme_end), found};
    return record(&PyTuple_Type, fields, 2);
}

/* Whether a name is the key, as it is or in lower case: 1, 0, or -1 with an exception. */
static int
is_named(PyObject *key, PyObject *name)
{
    if (key == name) {
        return 1;
    }
    Py_ssize_t length = PyUnicode_GET_LENGTH(name);
    if (PyUnicode_IS_ASCII(key) && PyUnicode_IS_ASCII(name)) {
        if (PyUnicode_GET_LENGTH(key) != length) {
            return 0;
        }
        const char *ours = (const char *)PyUnicode_1BYTE_DATA(key), *theirs = (const char *)PyUnicode_1BYTE_DATA(name);
        if (memcmp(ours, theirs, (size_t)length) == 0) {
            return 1;
        }
        for (Py_ssize_t i = 0; i < length; i++) {
            char c = ours[i];
            if (('A' <= c && c <= 'Z' ? c + 32 : c) != theirs[i]) {
                return 0;
            }
        }
        return 1;
    }
    int is_same = PyUnicode_Compare(key, name);
    if (is_same == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (is_same == 0) {
        return 1;
    }
    PyObject *lowered = PyObject_CallMethod(key, "lower", NULL);
    if (lowered == NULL) {
        return -1;
    }
    is_same = PyUnicode_Compare(lowered, name);
    Py_DECREF(lowered);
    return is_same == -1 && PyErr_Occurred() ? -1 : is_same == 0;
}

/* The value of the first parameter of a name, borrowed; NULL if there is none, or with an exception. */
static PyObject *
find_in(PyObject *self, PyObject *name)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(self); i++) {
        PyObject *pair = PyTuple_GET_ITEM(self, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 || !PyUnicode_Check(PyTuple_GET_ITEM(pair, 0))
            || !IS_READY(PyTuple_GET_ITEM(pair, 0))) {
            PyErr_SetString(PyExc_TypeError, "parameters are pairs of a name and a value");
            return NULL;
        }
        int is_it = is_named(PyTuple_GET_ITEM(pair, 0), name);
        if (is_it != 0) {
            return is_it < 0 ? NULL : PyTuple_GET_ITEM(pair, 1);
        }
    }
    return NULL;
}

/* As the Python form has it: the name as it was given, and if there is none of it, the name in lower case. */
static PyObject *
find(PyObject *self, PyObject *name)
{
    if (!PyUnicode_Check(name) || !IS_READY(name)) {
        PyErr_SetString(PyExc_TypeError, "a name is a text");
        return NULL;
    }
    if (PyTuple_GET_SIZE(self) == 0) {
        return NULL;
    }
    PyObject *value = find_in(self, name);
    if (value != NULL || PyErr_Occurred()) {
        return value;
    }
    int is_lower = PyUnicode_IS_ASCII(name);
    for (Py_ssize_t i = 0; is_lower && i < PyUnicode_GET_LENGTH(name); i++) {
        char c = ((const char *)PyUnicode_1BYTE_DATA(name))[i];
        is_lower = !('A' <= c && c <= 'Z');
    }
    if (is_lower) {
        return NULL;
    }
    PyObject *lowered = PyObject_CallMethod(name, "lower", NULL);
    if (lowered != NULL && (!PyUnicode_Check(lowered) || !IS_READY(lowered))) { /* a subclass may say anything */
        PyErr_SetString(PyExc_TypeError, "a name in lower case is a text");
    }
    else if (lowered != NULL) {
        value = find_in(self, lowered);
    }
    Py_XDECREF(lowered);
    return value;
}

/* A quoted-string without its quotes and escapes; anything else as it is. */
static PyObject *
unquoted(PyObject *text)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    if (length < 2 || PyUnicode_READ_CHAR(text, 0) != '"' || PyUnicode_READ_CHAR(text, length - 1) != '"') {
        return Py_NewRef(text);
    }
    Py_ssize_t escape = PyUnicode_FindChar(text, '\\', 1, length - 1, 1);
    if (escape == -1) {
        return PyUnicode_Substring(text, 1, length - 1);
    }
    Py_UCS4 *characters = escape < 0 ? NULL : PyUnicode_AsUCS4Copy(text);
    if (characters == NULL) {
        return NULL;
    }
    Py_ssize_t to = 1;
    for (Py_ssize_t i = 1; i < length - 1; i++) {
        if (characters[i] == '\\' && i + 1 < length - 1) {
            i++;
        }
        characters[to++] = characters[i];
    }
    PyObject *made = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, characters + 1, to - 1);
    PyMem_Free(characters);
    return made;
}

PyDoc_STRVAR(get_doc, "get($self, name, /)\n--\n\nReturn the value without its quotes; \"\" without one, None if absent.");

static PyObject *
get(PyObject *self, PyObject *name)
{
    PyObject *value = find(self, name);
    if (value == NULL) {
        return none_unless_error();
    }
    if (value == Py_None) {
        return Py_NewRef(empty);
    }
    if (!PyUnicode_Check(value) || !IS_READY(value)) {
        PyErr_SetString(PyExc_TypeError, "a value is a text or None");
        return NULL;
    }
    return unquoted(value);
}

PyDoc_STRVAR(has_doc, "has($self, name, /)\n--\n\nWhether a parameter of this name is there, with a value or without.");

static PyObject *
has(PyObject *self, PyObject *name)
{
    PyObject *value = find(self, name);
    return value == NULL && PyErr_Occurred() ? NULL : PyBool_FromLong(value != NULL);
}

static PyMethodDef of_params[] = {
    {"get", get, METH_O, get_doc},
    {"has", has, METH_O, has_doc},
};

static PyMethodDef functions[] = {
    {"via", (PyCFunction)(void (*)(void))via, METH_FASTCALL, via_doc},
    {"name_addr", (PyCFunction)(void (*)(void))name_addr, METH_FASTCALL, name_addr_doc},
    {"sip_uri", (PyCFunction)(void (*)(void))sip_uri, METH_FASTCALL, sip_uri_doc},
    {"params", (PyCFunction)(void (*)(void))params, METH_FASTCALL, params_doc},
    {"auth", auth, METH_O, auth_doc},
    {NULL, NULL, 0, NULL},
};

/* get and has are methods of any tuple, for a class to take over. */
static int
add_methods(PyObject *module)
{
    for (size_t i = 0; i < sizeof of_params / sizeof of_params[0]; i++) {
        PyObject *method = PyDescr_NewMethod(&PyTuple_Type, &of_params[i]);
        int status = method == NULL ? -1 : PyModule_AddObjectRef(module, of_params[i].ml_name, method);
        Py_XDECREF(method);
        if (status < 0) {
            return -1;
        }
    }
    return 0;
}

static int
execute(PyObject *module)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) { /* which has the Python form */
        PyErr_SetString(PyExc_ImportError, "the C twin is for the main interpreter");
        return -1;
    }
    mark(ALPHANUM "-.!%*_+`'~", TOKEN);
    mark_all_but(SPACES "\";<>,", VALUE);
    mark(ALPHANUM "-.", HOST);
    mark(UNRESERVED "&=+$,;?/#", USER);
    mark(UNRESERVED "[]/:&+$", URI_PARAM);
    mark_all_but(SPACES "<>", BRACKETED);
    mark(ALPHANUM "+.-", SCHEME);
    mark("abcdefghijklmnopqrstuvwxyz-", AUTH_NAME);
    for (Py_ssize_t i = 0; i < KNOWN; i++) {
        if (known[i] == NULL && (known[i] = PyUnicode_InternFromString(NAMES[i])) == NULL) {
            return -1;
        }
    }
    if (empty == NULL && (empty = PyUnicode_New(0, 0)) == NULL) {
        return -1;
    }
    return add_methods(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_values",
    .m_doc = "The C twin of what params.py, uri.py and headers.py do most.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__values(void)
{
    return PyModuleDef_Init(&definition);
}
