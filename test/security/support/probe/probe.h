/*
 * The probe: native code that attacks the kernel from inside a container. Each attack is a function that is declared with ATTACK and
 * called by its name; there is no other list.
 */
#pragma once
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What an attack was called with: `name:1:0x2` gives {1, 2, 0, ...}. */
enum { MAX_ARGUMENTS = 6 };

struct attack {
  const char *name;
  /* 0 and above: it worked. -1: errno says why not. */
  long (*run)(const long *a);
};

#define ATTACK(id)                                                                                              \
  static long attack_##id(const long *a);                                                                       \
  static const struct attack entry_##id __attribute__((used, aligned(16), section("attacks"))) = {#id, attack_##id}; \
  static long attack_##id(__attribute__((unused)) const long *a)

/* An attack that is one expression. */
#define CALL(id, expression) ATTACK(id) { return (expression); }

/* Makes this text the outcome, in place of `ok`. */
long say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A file with the probe's own content, made in `folder`; the descriptor is open for writing. */
int copy_of_self(const char *path, int mode);

/* Writes the probe's own content to a descriptor. */
long write_self(int fd);

/* A folder where a program of this container can write: the sandbox's, else that of a container without restrictions. */
const char *writable_folder(void);

/* Replaces this process by the probe, which then says that it was executed. Comes back only on failure. */
long exec_path(const char *path);
extern char *const executed_arguments[];
extern char *const no_environment[];
