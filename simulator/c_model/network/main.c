/* SPDX-License-Identifier: Apache-2.0 */
/* Read images' codes from standard input, run the network, write the outputs' codes.
 *
 * network [constants.bin] [--tap NAME] < input.bin > output.bin
 *
 * Codes are little-endian and row-major, without a header. --tap: the result of one op in place of the
 * outputs.
 */
#include "network.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    const char *name; /* whose result is written, or NULL */
    int failed;
} tap;

static int is_little_endian(void)
{
    const uint16_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    return first == 1;
}

/* Turn elements from little-endian to the host's byte order, or back. */
static void reorder(unsigned char *codes, size_t length, size_t bytes)
{
    size_t element, byte;
    if (is_little_endian())
        return;
    for (element = 0; element < length; element++) {
        unsigned char *place = codes + element * bytes;
        for (byte = 0; byte < bytes / 2; byte++) {
            const unsigned char kept = place[byte];
            place[byte] = place[bytes - 1 - byte];
            place[bytes - 1 - byte] = kept;
        }
    }
}

/* Write the codes of a tensor; 1 where that fails. */
static int write_codes(const aocq_tensor *tensor)
{
    const size_t bytes = (size_t)tensor->bytes;
    size_t element;
    for (element = 0; element < tensor->length; element++) {
        unsigned char code[8];
        memcpy(code, (const unsigned char *)tensor->data + element * bytes, bytes);
        reorder(code, 1, bytes);
        if (fwrite(code, 1, bytes, stdout) != bytes)
            return 1;
    }
    return 0;
}

static void write_tapped(void *context, const char *op, const aocq_tensor *result,
                         uint64_t misfits)
{
    tap *wanted = (tap *)context;
    (void)misfits;
    if (strcmp(op, wanted->name) == 0)
        wanted->failed |= write_codes(result);
}

static int is_op(const char *name)
{
    const char *const *known;
    for (known = network_op_name; *known != NULL; known++)
        if (strcmp(*known, name) == 0)
            return 1;
    return 0;
}

#if NETWORK_CONSTANTS_BYTES > 0
static int read_constants(const char *path)
{
    FILE *file = fopen(path, "rb");
    size_t read;
    int more;
    if (file == NULL) {
        fprintf(stderr, "%s: cannot be opened\n", path);
        return 1;
    }
    read = fread(network_constants, 1, NETWORK_CONSTANTS_BYTES, file);
    more = fgetc(file) != EOF;
    fclose(file);
    if (read != NETWORK_CONSTANTS_BYTES || more) {
        fprintf(stderr, "%s: wanted %lu bytes, the constants of this network\n", path,
                (unsigned long)NETWORK_CONSTANTS_BYTES);
        return 1;
    }
    if (!is_little_endian()) {
        fprintf(stderr, "%s: is little-endian, this machine is not; export with constants in C\n",
                path);
        return 1;
    }
    return 0;
}
#endif

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s%s [--tap NAME] < input.bin > output.bin\n", program,
            NETWORK_CONSTANTS_BYTES > 0 ? " constants.bin" : "");
    return 2;
}

int main(int count, char **arguments)
{
    const size_t image = network_input.length * (size_t)network_input.bytes;
    unsigned char *codes = (unsigned char *)network_input.data;
    tap wanted = {NULL, 0};
    int next = 1;
#if NETWORK_CONSTANTS_BYTES > 0
    if (count < 2)
        return usage(arguments[0]);
    if (read_constants(arguments[1]) != 0)
        return 3;
    next = 2;
#endif
    if (count == next + 2 && strcmp(arguments[next], "--tap") == 0)
        wanted.name = arguments[next + 1];
    else if (count != next)
        return usage(arguments[0]);
    if (wanted.name != NULL && !is_op(wanted.name)) {
        fprintf(stderr, "--tap %s: no op has this name\n", wanted.name);
        return 3;
    }
    for (;;) {
        const size_t read = fread(codes, 1, image, stdin);
        size_t output;
        if (read == 0 && feof(stdin))
            break;
        if (read != image) {
            fprintf(stderr, "input: ends within an image; wanted images of %lu bytes\n",
                    (unsigned long)image);
            return 3;
        }
        reorder(codes, network_input.length, (size_t)network_input.bytes);
        network_run(wanted.name != NULL ? write_tapped : NULL, &wanted);
        if (wanted.name == NULL)
            for (output = 0; output < NETWORK_OUTPUTS; output++)
                wanted.failed |= write_codes(&network_output[output]);
        if (wanted.failed)
            break;
    }
    if (wanted.failed || fflush(stdout) != 0) {
        fprintf(stderr, "output: cannot be written\n");
        return 4;
    }
    return 0;
}
