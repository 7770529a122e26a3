# SPDX-License-Identifier: Apache-2.0
"""Builds `analyzers._parsers`: the protocol parsers and the index of pool.h as they stand in the engine, for tests.

Run as `python analyzers/native/build_parsers_ffi.py`; the module lands next to the package and is left alone while it
is newer than its sources; `--force` builds it anyway. The compiler checks the declarations below against protocol.h.
"""

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from cffi import FFI

NATIVE = Path(__file__).resolve().parent
MODULE = "analyzers._parsers"
TARGET = NATIVE.parent / f"_parsers{sysconfig.get_config_var('EXT_SUFFIX')}"
COMPILER_FLAGS = ("-std=gnu11", "-O2", "-g", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")

DECLARATIONS = """
struct fs_text { const uint8_t *start; uint32_t length; };
struct fs_cursor { const uint8_t *at; const uint8_t *end; bool truncated; };
struct fs_label { uint16_t length; char text[254]; };
struct fs_message {
    uint64_t length; uint64_t id; uint32_t flags; uint16_t status; uint8_t body; uint8_t next_protocol;
    uint16_t method; uint8_t protocol; uint8_t verb; uint32_t note; uint8_t trace_id[16]; uint8_t parent_id[8];
    struct fs_label content;
};
struct fs_outcome {
    uint16_t status; bool error; struct fs_label request_content; struct fs_label response_content;
};
struct fs_path_rule { uint8_t length; uint8_t is_prefix; char text[126]; };
struct fs_path_rules { uint32_t count; struct fs_path_rule rule[32]; };
struct fs_parser_options {
    uint8_t url_clustering; uint8_t dns_nxdomain_is_error; uint8_t reserved[2]; uint32_t paths_version;
    const struct fs_path_rules *unwanted;
};
struct fs_frame_input {
    struct fs_cursor bytes; const struct fs_message *waiting; const struct fs_parser_options *options;
    uint8_t *scratch; void *state; void *shared; uint8_t side; uint8_t datagram;
};
struct fs_protocol {
    uint8_t id; uint8_t pairs_by_id; uint8_t streams; uint8_t datagrams; uint8_t unpipelined;
    uint32_t state_bytes; uint32_t shared_bytes;
    ...;
};
#define FS_SCRATCH ...
const struct fs_protocol *fs_protocol_by_id(uint8_t id);
const char *fs_protocol_name(uint8_t id);
void fs_cluster_path(struct fs_text target, int how, struct fs_label *out);
uint8_t fs_listed(uint8_t place);
void fs_sql_with(const uint8_t *bytes, size_t length, bool truncated, int dialect, struct fs_label *out);
int fs_detect_with(uint8_t id, const uint8_t *bytes, size_t length, bool truncated, bool datagram);
int fs_frame_with(uint8_t id, struct fs_frame_input *in, const uint8_t *bytes, size_t length, bool truncated,
                  struct fs_message *out);
void fs_stitch_with(uint8_t id, const struct fs_message *request, const struct fs_message *response,
                    const struct fs_parser_options *options, struct fs_outcome *out);
double fs_frame_ns(uint8_t id, struct fs_frame_input *in, const uint8_t *bytes, size_t length, uint32_t rounds);
struct fs_index;
struct fs_index *fs_index_made(uint32_t least, uint32_t most);
void fs_index_freed(struct fs_index *index);
void fs_index_added(struct fs_index *index, uint32_t hash, uint32_t entry);
void fs_index_removed(struct fs_index *index, uint32_t hash, uint32_t entry);
uint32_t fs_index_found(const struct fs_index *index, uint32_t hash, uint32_t *entries, uint32_t room);
uint32_t fs_index_slots(const struct fs_index *index);
"""

# cffi cannot call through a function pointer in a struct without a wrapper of its own; these are it. Each call gets its
# own copy of the bytes, exactly as long as they are, so that nothing behind them can be taken for them.
GLUE = f"""
#include <stdlib.h>
#include <time.h>
#include "{NATIVE / "pool.h"}"
#include "{NATIVE / "protocol.h"}"
#include "{NATIVE / "protocols" / "sql.h"}"

static uint8_t fs_listed(uint8_t place)
{{
    for (uint8_t i = 0; fs_protocols[i]; i++)
        if (i == place)
            return fs_protocols[i]->id;
    return 0;
}}

static uint8_t *fs_copy(const uint8_t *bytes, size_t length)
{{
    uint8_t *copy = malloc(length ? length : 1);
    if (!copy)
        abort();
    memcpy(copy, bytes, length);
    return copy;
}}

static void fs_sql_with(const uint8_t *bytes, size_t length, bool truncated, int dialect, struct fs_label *out)
{{
    uint8_t *copy = fs_copy(bytes, length);
    fs_sql_reduce(fs_cursor_over(copy, length, truncated), dialect, out);
    free(copy);
}}

static int fs_detect_with(uint8_t id, const uint8_t *bytes, size_t length, bool truncated, bool datagram)
{{
    uint8_t *copy = fs_copy(bytes, length);
    int answer = fs_protocol_by_id(id)->detect(fs_cursor_over(copy, length, truncated), datagram);
    free(copy);
    return answer;
}}

static int fs_frame_with(uint8_t id, struct fs_frame_input *in, const uint8_t *bytes, size_t length, bool truncated,
                         struct fs_message *out)
{{
    uint8_t *copy = fs_copy(bytes, length);
    in->bytes = fs_cursor_over(copy, length, truncated);
    int answer = fs_protocol_by_id(id)->frame(in, out);
    free(copy);
    return answer;
}}

static void fs_stitch_with(uint8_t id, const struct fs_message *request, const struct fs_message *response,
                           const struct fs_parser_options *options, struct fs_outcome *out)
{{
    fs_protocol_by_id(id)->stitch(request, response, options, out);
}}

static double fs_frame_ns(uint8_t id, struct fs_frame_input *in, const uint8_t *bytes, size_t length, uint32_t rounds)
{{
    const struct fs_protocol *protocol = fs_protocol_by_id(id);
    struct timespec begin, end;
    struct fs_message message;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    for (uint32_t i = 0; i < rounds; i++) {{
        memset(in->scratch, 0, FS_SCRATCH);
        in->bytes = fs_cursor_over(bytes, length, false);
        protocol->frame(in, &message);
        __asm__ volatile("" : : "r"(&message) : "memory");
    }}
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    return ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / rounds;
}}

static struct fs_index *fs_index_made(uint32_t least, uint32_t most)
{{
    struct fs_index *index = calloc(1, sizeof(*index));
    if (!index || !(index->smallest = calloc(1, fs_index_bytes(least, most))))
        abort();
    index->least = least;
    index->most = most;
    fs_index_use(index, least);
    return index;
}}

static void fs_index_freed(struct fs_index *index)
{{
    free(index->smallest);
    free(index);
}}

static void fs_index_added(struct fs_index *index, uint32_t hash, uint32_t entry)
{{
    fs_index_add(index, hash, entry);
}}

static void fs_index_removed(struct fs_index *index, uint32_t hash, uint32_t entry)
{{
    fs_index_remove(index, hash, entry);
}}

static uint32_t fs_index_found(const struct fs_index *index, uint32_t hash, uint32_t *entries, uint32_t room)
{{
    uint32_t probe, count = 0;
    for (uint32_t i = fs_index_first(index, hash, &probe); i && count < room; i = fs_index_next(index, hash, &probe))
        entries[count++] = i;
    return count;
}}

static uint32_t fs_index_slots(const struct fs_index *index)
{{
    return index->mask + 1;
}}
"""


def sources() -> list[Path]:
    return sorted((NATIVE / "protocols").glob("*.c"))


def is_current() -> bool:
    if not TARGET.exists():
        return False
    headers = (
        *(NATIVE / name for name in ("protocol.h", "cursor.h", "paths.h", "pool.h")),
        *(NATIVE / "protocols").glob("*.h"),
    )
    built = TARGET.stat().st_mtime
    return all(path.stat().st_mtime <= built for path in (Path(__file__), *sources(), *headers))


def build() -> None:
    """Writes the extension module; ends the program with the compiler's words if that fails."""
    compiler = sysconfig.get_config_var("CC").split()[0]
    if not shutil.which(compiler):
        raise SystemExit(f"build_parsers_ffi: the C compiler {compiler} is not installed: apt-get install gcc")
    ffi = FFI()
    ffi.cdef(DECLARATIONS)
    ffi.set_source(MODULE, GLUE)
    with tempfile.TemporaryDirectory() as scratch:
        glue = Path(scratch, "_parsers.c")
        ffi.emit_c_code(str(glue))
        library = Path(scratch, TARGET.name)
        files = [str(path) for path in (glue, *sources())]
        command = [compiler, *COMPILER_FLAGS, f"-I{sysconfig.get_path('include')}", "-o", str(library), *files]
        output = subprocess.run(command, capture_output=True, text=True, check=False)
        if output.returncode:
            raise SystemExit(f"build_parsers_ffi: {compiler} could not build {MODULE}:\n{output.stderr}")
        # A rename, so that a Python that has the old one mapped is not disturbed.
        staged = TARGET.with_suffix(".new")
        staged.write_bytes(library.read_bytes())
        staged.chmod(0o755)
        staged.replace(TARGET)


if __name__ == "__main__":
    if "--force" in sys.argv[1:] or not is_current():
        build()
