/* Answers each line of the standard input with a SavedModel, through TensorFlow's C API; the text goes in as it is.
 *
 *   P=$(python -c 'import site; print(site.getsitepackages()[0])')
 *   gcc -o savedmodel savedmodel.c -I$P/tensorflow/include -L$P/tensorflow -l:libtensorflow_cc.so.2 \
 *       -l:libtensorflow_framework.so.2 -Wl,-rpath,$P/tensorflow
 *   ./savedmodel saved_model/1 $P/tensorflow_text/python/ops/_sentencepiece_tokenizer.so < words.txt
 */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

enum { BATCH = 50 };

static void check(TF_Status *status) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s\n", TF_Message(status));
  exit(1);
}

/* === The names of a signature's tensors, from the MetaGraphDef that the loader hands over === */

typedef struct {
  const unsigned char *data, *end;
} Bytes;

static size_t varint(Bytes *message) {
  size_t value = 0;
  for (int shift = 0; message->data < message->end; shift += 7) {
    value |= (size_t)(*message->data & 127) << shift;
    if (*message->data++ < 128) break;
  }
  return value;
}

/* Finds the next field of this number in a protobuf message, a text or a message itself; returns whether there is one. */
static int next(Bytes *message, unsigned number, Bytes *found) {
  while (message->data < message->end) {
    size_t tag = varint(message);
    if (tag % 8 == 0) varint(message);
    if (tag % 8 == 1) message->data += 8;
    if (tag % 8 == 5) message->data += 4;
    if (tag % 8 != 2) continue;
    size_t size = varint(message);
    *found = (Bytes){message->data, message->data + size};
    message->data += size;
    if (tag / 8 == number) return 1;
  }
  return 0;
}

/* Returns the value (field 2) of a map's entry with this key (field 1); the map is the field `number` of `message`. */
static Bytes entry(Bytes message, unsigned number, const char *key) {
  for (Bytes pair; next(&message, number, &pair);) {
    Bytes rest = pair, name, value;
    if (next(&rest, 1, &name) && (size_t)(name.end - name.data) == strlen(key) &&
        !memcmp(name.data, key, strlen(key)) && next(&pair, 2, &value)) return value;
  }
  fprintf(stderr, "the SavedModel has no %s\n", key);
  exit(1);
}

/* Returns where `name` of a SignatureDef's inputs (1) or outputs (2) stands: "operation:index" in its TensorInfo. */
static TF_Output place(TF_Graph *graph, Bytes signature, unsigned side, const char *name) {
  Bytes information = entry(signature, side, name), full;
  if (!next(&information, 1, &full)) exit(1);
  char operation[256] = "";
  memcpy(operation, full.data, full.end - full.data < 255 ? full.end - full.data : 255);
  char *colon = strchr(operation, ':');
  *colon = 0;
  return (TF_Output){TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
}

/* === Texts in, texts out === */

static void forget(void *data, size_t size, void *count) {
  (void)size;
  for (size_t i = 0; i < (size_t)count; i++) TF_StringDealloc((TF_TString *)data + i);
  free(data);
}

static TF_Tensor *tensor(char **lines, int64_t count) {
  TF_TString *texts = malloc(count * sizeof *texts);
  for (int64_t i = 0; i < count; i++) {
    TF_StringInit(&texts[i]);
    TF_StringCopy(&texts[i], lines[i], strlen(lines[i]));
  }
  return TF_NewTensor(TF_STRING, &count, 1, texts, count * sizeof *texts, forget, (void *)(size_t)count);
}

static int read_lines(char **lines) {
  int count = 0;
  for (size_t room = 0; count < BATCH; room = 0) {
    lines[count] = NULL;
    ssize_t size = getline(&lines[count], &room, stdin);
    if (size < 0) return free(lines[count]), count;
    lines[count][size - (lines[count][size - 1] == '\n')] = 0;
    count++;
  }
  return count;
}

int main(int argc, char **argv) {
  if (argc < 2) return fprintf(stderr, "usage: savedmodel DIRECTORY [OPERATORS.so ...] < TEXTS\n"), 2;
  TF_Status *status = TF_NewStatus();
  for (int i = 2; i < argc; i++) TF_LoadLibrary(argv[i], status), check(status);

  const char *tags[] = {"serve"};
  TF_Graph *graph = TF_NewGraph();
  TF_Buffer *meta = TF_NewBuffer();
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, meta, status);
  check(status);
  Bytes definition = {meta->data, (const unsigned char *)meta->data + meta->length};
  Bytes signature = entry(definition, 5, "serving_default"); /* MetaGraphDef.signature_def */
  TF_Output input = place(graph, signature, 1, "text"), output = place(graph, signature, 2, "text");

  char *lines[BATCH];
  for (int count; (count = read_lines(lines));) {
    TF_Tensor *given = tensor(lines, count), *answer = NULL;
    TF_SessionRun(session, NULL, &input, &given, 1, &output, &answer, 1, NULL, 0, NULL, status);
    check(status);
    TF_TString *texts = TF_TensorData(answer);
    for (int i = 0; i < count; i++, puts("")) {
      fwrite(TF_StringGetDataPointer(&texts[i]), 1, TF_StringGetSize(&texts[i]), stdout);
      free(lines[i]);
    }
    TF_DeleteTensor(given);
    TF_DeleteTensor(answer);
  }
  return 0;
}
