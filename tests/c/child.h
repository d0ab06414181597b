/* Children of a process that has handles. */
#ifndef CHILD_H
#define CHILD_H

#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* The child of a fork runs `body`; it must end well. To valgrind, what threads of the parent had on their stacks is lost in the child: so
 * a child of busy threads goes on to be another program, of which that isn't asked. */
#define IN_CHILD(body) IN_CHILD_THEN(body, _exit(0))
#define IN_CHILD_THEN(body, end)                                    \
  do {                                                              \
    int status = 0;                                                 \
    pid_t child = fork();                                           \
    CHECK(child >= 0);                                              \
    if (child == 0) {                                               \
      body;                                                         \
      end;                                                          \
      _exit(1);                                                     \
    }                                                               \
    CHECK(waitpid(child, &status, 0) == child);                     \
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);           \
  } while (0)

#endif
