/* Greets a running router in plain C, and reads a frame's header.

   cc -std=c11 -Wall -Wextra -Werror -I shm-schema examples/c/hello.c -o hello
   ./hello /run/user/1000/remotemedia/router-1234-0123456789ab.sock   greets the router at its control socket
   ./hello --header <720 hex digits>                                  checks a header as shm-schema/vectors/frame_header.json has it
   ./hello --message <hex digits>                                     reads a control message as to_worker.json has it

   It is the beginning of a worker, not a whole one: frames pass through iceoryx2, whose C library is not packaged, so
   this program reads no shared memory. A worker with that library opens the services that `prepare` names, under the
   configuration of worker-sdk/src/namespace/config.rs, with `struct rm_frame_header` (padded to 384 bytes, aligned to 64,
   type name "FrameHeader") as their user header. Messages behind the hello are a u32 in little endian and so many bytes
   of JSON; shm-schema/vectors/to_worker.json and to_router.json have one of each kind. */

#define _POSIX_C_SOURCE 200809L
#include "shm_schema.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PROTOCOL_VERSION 2
#define HEAD_LEN 14
#define MAX_HELLO_BODY 4096
#define MAX_MESSAGE 65536

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno != 0 ? strerror(errno) : "it is not as it must be");
    return 1;
}

static void put(uint8_t *to, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get(const uint8_t *from, int bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint32_t)from[i] << (8 * i);
    return value;
}

static bool read_all(int fd, void *to, size_t len)
{
    for (uint8_t *at = to; len > 0;) {
        ssize_t n = read(fd, at, len);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* Copies the text of a JSON field that needs no unescaping, which a router's name is; a real worker takes a library. */
static bool text_of(const char *json, const char *field, char *to, size_t size)
{
    char key[32];
    snprintf(key, sizeof key, "\"%s\":\"", field);
    const char *begin = strstr(json, key);
    if (begin == NULL)
        return false;
    begin += strlen(key);
    size_t len = strcspn(begin, "\"");
    if (len >= size || begin[len] == '\0')
        return false;
    memcpy(to, begin, len);
    to[len] = '\0';
    return true;
}

static int greet(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return fail(path);
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return fail(path);

    uint8_t hello[HEAD_LEN + 128] = "RMCP";
    char *body = (char *)hello + HEAD_LEN;
    int len = snprintf(body, sizeof hello - HEAD_LEN, "{\"encoding\":\"json\",\"name\":\"c-hello\",\"pid\":%ld,\"role\":\"custom\"}",
                       (long)getpid());
    put(hello + 4, PROTOCOL_VERSION, 2);
    put(hello + 6, RM_ABI_VERSION, 4);
    put(hello + 10, (uint32_t)len, 4);
    if (write(fd, hello, HEAD_LEN + (size_t)len) != HEAD_LEN + len)
        return fail("write");

    uint8_t head[HEAD_LEN];
    if (!read_all(fd, head, sizeof head))
        return fail("the router closed the connection before it greeted");
    uint32_t protocol = get(head + 4, 2), abi = get(head + 6, 4), theirs = get(head + 10, 4);
    if (memcmp(head, "RMCP", 4) != 0 || protocol != PROTOCOL_VERSION || abi != RM_ABI_VERSION || theirs > MAX_HELLO_BODY) {
        fprintf(stderr, "not a router of this release: protocol %" PRIu32 ", ABI %" PRIu32 "\n", protocol, abi);
        return 1;
    }
    char said[MAX_HELLO_BODY + 1] = "", role[16], name[65];
    if (!read_all(fd, said, theirs))
        return fail("read");
    if (!text_of(said, "role", role, sizeof role) || strcmp(role, "router") != 0 || !text_of(said, "name", name, sizeof name)) {
        fprintf(stderr, "not a router: %s\n", said);
        return 1;
    }
    printf("frame header %zu bytes, router %s\n", sizeof(struct rm_frame_header), name);
    close(fd);
    return 0;
}

/* What a reader does with a sample's header: copies it once, and looks at the copy only. */
static int check_header(const char *hex)
{
    struct rm_frame_header header;
    uint8_t *bytes = (uint8_t *)&header;
    if (strlen(hex) != 2 * sizeof header) {
        fprintf(stderr, "a header has %zu hex digits, this has %zu\n", 2 * sizeof header, strlen(hex));
        return 2;
    }
    for (size_t i = 0; i < sizeof header; i++)
        if (sscanf(hex + 2 * i, "%2hhx", &bytes[i]) != 1)
            return fail("the hex digits");
    if (header.abi != RM_ABI_VERSION || header.stamp_count > RM_MAX_STAMPS)
        return fail("the header");
    printf("kind %d codec %d flags %" PRIu32 " sequence %" PRIu64 " epoch %" PRIu32 " generation %" PRIu32 " time %" PRIu64
           " duration %" PRIu64 " payload %" PRIu32 " size %dx%d v %" PRIu32 "+%" PRIu32 " rate %" PRIu32 " channels %d samples %" PRIu32,
           header.kind, header.codec, header.flags, header.sequence, header.epoch, header.generation, header.media_time_ns,
           header.duration_ns, header.payload_len, header.width, header.height, header.planes[2].offset,
           header.planes[2].stride, header.rate, header.channels, header.samples);
    for (int i = 0; i < header.stamp_count; i++)
        printf(" stamp %d:%" PRIu64, header.stamps[i].stage, header.stamps[i].ns);
    printf("\n");
    return 0;
}

/* Behind the hello both sides send messages: a u32 in little endian and so many bytes of JSON, which is an object with one
   field, the message's kind, or the kind alone as a text where there is nothing more to say. */
static int check_message(const char *hex)
{
    static uint8_t bytes[4 + MAX_MESSAGE + 1];
    size_t len = strlen(hex) / 2;
    if (strlen(hex) % 2 != 0 || len < 4 || len >= sizeof bytes)
        return fail("the length of the message");
    for (size_t i = 0; i < len; i++)
        if (sscanf(hex + 2 * i, "%2hhx", &bytes[i]) != 1)
            return fail("the hex digits");
    bytes[len] = '\0';
    const char *json = (const char *)bytes + 4;
    if (get(bytes, 4) != len - 4 || strlen(json) != len - 4)
        return fail("the frame around the message");
    char kind[32], session[256];
    const char *begin = strncmp(json, "{\"", 2) == 0 ? json + 2 : json + 1;
    size_t size = strcspn(begin, "\"");
    const char *behind = begin + size;
    bool bare = json[0] == '"' && strcmp(behind, "\"") == 0, whole = json[0] == '{' && strncmp(behind, "\":", 2) == 0;
    if (size >= sizeof kind || !(bare || whole))
        return fail("the message");
    memcpy(kind, begin, size);
    kind[size] = '\0';
    printf("%s of %s\n", kind, text_of(json, "session", session, sizeof session) ? session : "no session");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--message") == 0)
        return check_message(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--header") == 0)
        return check_header(argv[2]);
    if (argc == 2)
        return greet(argv[1]);
    fprintf(stderr, "usage: %s SOCKET | --header HEX | --message HEX\n", argv[0]);
    return 2;
}
