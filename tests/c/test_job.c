/* Jobs' disks: begun, used, ended and recovered; servers; what a forked child may not do. */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "child.h"

#define MIB ((uint64_t)1 << 20)

/* Whether what needs root or a kernel's help may run. Where it may not, that is said, and in CI it is a failure. */
static bool may_run(bool possible, const char *why) {
  if (!possible) {
    fprintf(stderr, "skipped: %s\n", why);
    CHECK(getenv("CI") == NULL);
  }
  return possible;
}

static bool exists(const char *path) {
  struct stat found;
  return lstat(path, &found) == 0;
}

/* Sockets have short paths, and build directories long ones. */
static char sockets[] = "/tmp/cmkit-test-XXXXXX";
static const char *socket_path(const char *name) {
  static char path[64];
  snprintf(path, sizeof path, "%s/%s", sockets, name);
  return path;
}

/* The magic that every NBD server begins with. */
static bool answers(const char *path) {
  struct sockaddr_un address;
  char magic[8] = "";
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0);
  bool good = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && recv(fd, magic, 8, MSG_WAITALL) == 8;
  close(fd);
  return good && memcmp(magic, "NBDMAGIC", 8) == 0;
}

static cmk_scratch_options options_of(const char *job) {
  static char state[4096];
  cmk_scratch_options options;
  snprintf(state, sizeof state, "%s/state", scratch_dir);
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  options.state_dir = state;
  options.job = job;
  options.size = 16 * MIB;
  options.place_path = scratch_dir;
  return options;
}

/* The record of a job that left nothing behind says this. */
static void check_record(cmk_erasure_record *record, const char *job, const char *says) {
  char expected[128];
  snprintf(expected, sizeof expected, "\"job\":\"%s\"", job);
  const char *json = cmk_erasure_record_json(record);
  CHECK(json != NULL && strstr(json, expected) != NULL && strchr(json, '\n') == NULL);
  if (strstr(json, says) == NULL) fprintf(stderr, "%s\n", json);
  CHECK(strstr(json, says) != NULL);
  CHECK(cmk_erasure_record_left_behind_count(record) == 0 && cmk_erasure_record_left_behind(record, 0) == NULL);
  cmk_erasure_record_free(record);
}

static void in_this_process(void) {
  cmk_error *e = NULL;
  cmk_scratch *job = NULL, *other = NULL;
  cmk_volume *volume = NULL;
  cmk_erasure_record *record = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  cmk_volume_options encryption = {.struct_size = sizeof encryption, .keyring = keyring, .block_size = 16384};
  cmk_scratch_options options = options_of("job-1");
  options.volume = &encryption;
  uint8_t text[5000], back[5000];
  fill(text, sizeof text, 1);

  for (uint32_t place = CMK_PLACE_DIR; place <= CMK_PLACE_MEMORY; place++) {
    if (place == CMK_PLACE_DEVICE) continue;
    options.place = place;
    options.place_path = place == CMK_PLACE_FILE ? scratch("disk") : NULL;
    OK(cmk_scratch_begin(&options, &job, &e), e);
    CHECK(cmk_scratch_path(job) == NULL);
    FAILS(cmk_scratch_begin(&options, &other, &e), CMK_ERR_BUSY, e);
    OK(cmk_scratch_volume(job, &volume, &e), e);
    CHECK(cmk_volume_len(volume) == 16 * MIB && cmk_volume_block_size(volume) == 16384);
    OK(cmk_volume_write(volume, 7, text, sizeof text, 0, &e), e);
    OK(cmk_volume_read(volume, 7, back, sizeof back, &e), e);
    CHECK(memcmp(text, back, sizeof text) == 0);
    FAILS(cmk_volume_reset(volume, NULL, &e), CMK_ERR_INVALID_STATE, e);
    CHECK(place != CMK_PLACE_FILE || exists(scratch("disk")));
    OK(cmk_scratch_end(job, 0, "exit status 3", &record, &e), e);
    CHECK(strstr(cmk_erasure_record_json(record), "local:team/") != NULL);
    check_record(record, "job-1", "\"end\":\"exit status 3\"");
    CHECK(cmk_volume_is_destroyed(volume) && !exists(scratch("disk")));
    FAILS(cmk_volume_read(volume, 0, back, sizeof back, &e), CMK_ERR_INVALID_STATE, e);
    FAILS(cmk_volume_reset(volume, NULL, &e), CMK_ERR_INVALID_STATE, e);
    cmk_volume_free(volume);
    FAILS(cmk_scratch_end(job, 0, NULL, &record, &e), CMK_ERR_INVALID_STATE, e);
    CHECK(record == NULL);
    FAILS(cmk_scratch_volume(job, &volume, &e), CMK_ERR_INVALID_STATE, e);
    cmk_scratch_free(job);
  }
  cmk_keyring_free(keyring);

  /* Freed without an end; then the name is free again. */
  options = options_of("job-1");
  OK(cmk_scratch_begin(&options, &job, &e), e);
  OK(cmk_scratch_volume(job, &volume, &e), e);
  cmk_scratch_free(job);
  CHECK(cmk_volume_is_destroyed(volume));
  cmk_volume_free(volume);
  OK(cmk_scratch_begin(&options, &job, &e), e);
  OK(cmk_scratch_end(job, 0, NULL, NULL, &e), e);
  cmk_scratch_free(job);
  cmk_scratch_free(NULL);
}

/* What a child may not do, and what nothing happens to by its trying. */
static void try_to_end(cmk_scratch *job) {
  cmk_error *e = NULL;
  cmk_erasure_record *record = NULL;
  cmk_volume *volume = NULL;
  CHECK(cmk_scratch_path(job) != NULL);
  FAILS(cmk_scratch_end(job, 0, NULL, &record, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_scratch_volume(job, &volume, &e), CMK_ERR_INVALID_STATE, e);
  CHECK(record == NULL && volume == NULL);
  cmk_scratch_free(job);
}

static void in_a_grandchild(cmk_scratch *job) { IN_CHILD_THEN(try_to_end(job), exit(0)); }

static bool below_valgrind(void) {
  const char *preload = getenv("LD_PRELOAD");
  return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

/* Children that end in every way. valgrind takes what is on the stacks of the parent's threads for lost in the child, and the leak sanitizer's exit does, too. */
static void children(cmk_scratch *job) {
  bool watched = below_valgrind();
#ifdef __SANITIZE_ADDRESS__
  watched = true;
#endif
  fflush(NULL);
  IN_CHILD_THEN(try_to_end(job), execl("/bin/true", "true", NULL));
  if (watched) return;
  IN_CHILD_THEN(try_to_end(job), _exit(0));
  IN_CHILD_THEN(try_to_end(job), exit(0));
  /* One that does nothing about it. */
  IN_CHILD_THEN((void)job, exit(0));
  IN_CHILD_THEN(in_a_grandchild(job), exit(0));
}

static void over_nbd(void) {
  cmk_error *e = NULL;
  cmk_scratch *job = NULL;
  cmk_erasure_record *record = NULL;
  cmk_volume *volume = NULL;
  cmk_scratch_options options = options_of("job-nbd");
  uint8_t byte = 0;
  options.place = CMK_PLACE_FILE;
  options.place_path = scratch("nbd-disk");
  options.expose = CMK_EXPOSE_NBD;
  options.expose_path = socket_path("job");
  OK(cmk_scratch_begin(&options, &job, &e), e);
  CHECK(strcmp(cmk_scratch_path(job), options.expose_path) == 0 && answers(options.expose_path));
  OK(cmk_scratch_volume(job, &volume, &e), e);
  OK(cmk_volume_write(volume, 0, (const uint8_t *)"x", 1, 0, &e), e);
  children(job);
  CHECK(answers(options.expose_path) && exists(options.place_path) && exists(scratch("state/jobs/job-nbd.json")));
  OK(cmk_volume_read(volume, 0, &byte, 1, &e), e);
  CHECK(byte == 'x');
  cmk_volume_free(volume);
  OK(cmk_scratch_end(job, 1000, NULL, &record, &e), e);
  check_record(record, "job-nbd", "\"end\":\"ended\"");
  CHECK(!exists(options.expose_path) && !exists(options.place_path) && !exists(scratch("state/jobs/job-nbd.json")));
  cmk_scratch_free(job);
}

static void over_fuse(void) {
  cmk_error *e = NULL;
  cmk_scratch *job = NULL;
  cmk_erasure_record *record = NULL;
  cmk_scratch_options options = options_of("job-file");
  char path[4096], text[8] = "";
  if (!may_run(access("/dev/fuse", R_OK | W_OK) == 0, "no /dev/fuse, or not for this user")) return;
  options.expose = CMK_EXPOSE_FILE;
  OK(cmk_scratch_begin(&options, &job, &e), e);
  snprintf(path, sizeof path, "%s", cmk_scratch_path(job));
  CHECK(strcmp(strrchr(path, '/'), "/disk") == 0);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  CHECK(fd >= 0 && pwrite(fd, "secret", 6, 5000) == 6 && close(fd) == 0);
  children(job);
  fd = open(path, O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0 && pread(fd, text, 7, 5000) == 7 && strcmp(text, "secret") == 0 && close(fd) == 0);
  OK(cmk_scratch_end(job, 1000, NULL, &record, &e), e);
  check_record(record, "job-file", "\"bytes_written\":");
  CHECK(!exists(path));
  cmk_scratch_free(job);
}

static void mounted(void) {
  cmk_error *e = NULL;
  cmk_scratch *job = NULL;
  cmk_erasure_record *record = NULL;
  cmk_scratch_options options = options_of("job-mount");
  char path[4096], file[4096 + 8];
  struct stat root;
  options.expose = CMK_EXPOSE_MOUNT;
  options.size = 64 * MIB;
  if (geteuid() != 0) FAILS(cmk_scratch_begin(&options, &job, &e), CMK_ERR_ACCESS_DENIED, e);
  if (!may_run(geteuid() == 0 && access("/dev/fuse", F_OK) == 0 && access("/dev/loop-control", F_OK) == 0,
               "mounting needs root, /dev/fuse and loop devices")) {
    return;
  }
  options.owner_uid = 1234, options.owner_gid = 4321;
  OK(cmk_scratch_begin(&options, &job, &e), e);
  snprintf(path, sizeof path, "%s", cmk_scratch_path(job));
  snprintf(file, sizeof file, "%s/file", path);
  CHECK(stat(path, &root) == 0 && root.st_uid == 1234 && root.st_gid == 4321);
  int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && write(fd, "secret", 6) == 6);
  children(job);
  CHECK(exists(file) && write(fd, "secret", 6) == 6 && fsync(fd) == 0);
  /* In use at the deadline: it says by whom, and the key is destroyed all the same. */
  OK(cmk_scratch_end(job, 100, NULL, &record, &e), e);
  CHECK(strstr(cmk_erasure_record_json(record), "its key was destroyed while it was in use") != NULL);
  close(fd);
  cmk_erasure_record_free(record);
  cmk_scratch_free(job);
  CHECK(!exists(file));

  /* Unused it leaves nothing, at an own place too; XFS is too large. */
  OK(cmk_scratch_recover(options.state_dir, NULL, &e), e);
  CHECK(mkdir(scratch("mnt"), 0700) == 0);
  options.expose_path = scratch("mnt");
  options.file_system = CMK_FILE_SYSTEM_XFS;
  FAILS(cmk_scratch_begin(&options, &job, &e), CMK_ERR_INVALID_ARGUMENT, e);
  options.file_system = CMK_FILE_SYSTEM_EXT4;
  OK(cmk_scratch_begin(&options, &job, &e), e);
  OK(cmk_scratch_end(job, 10000, NULL, &record, &e), e);
  check_record(record, "job-mount", "\"end\":\"ended\"");
  cmk_scratch_free(job);
  CHECK(rmdir(options.expose_path) == 0);
}

static void servers(void) {
  cmk_error *e = NULL;
  cmk_backing *backing = NULL;
  cmk_volume *volume = NULL;
  cmk_nbd_server *server = NULL, *second = NULL;
  cmk_nbd_options options = {.struct_size = sizeof options, .name = "disk", .description = "for a test", .max_connections = 2};
  cmk_nbd_counters counters = {.struct_size = sizeof counters};
  const char *path = socket_path("server");
  OK(cmk_backing_memory(MIB, &backing, &e), e);
  OK(cmk_volume_create(backing, NULL, &volume, &e), e);
  cmk_backing_free(backing);
  OK(cmk_nbd_server_start(volume, path, &options, &server, &e), e);
  CHECK(strcmp(cmk_nbd_server_socket(server), path) == 0 && answers(path) && answers(path));
  FAILS(cmk_nbd_server_start(volume, path, NULL, &second, &e), CMK_ERR_BUSY, e);
  OK(cmk_nbd_server_stats(server, &counters, &e), e);
  CHECK(counters.accepted >= 1 && counters.requests == 0 && counters.struct_size == sizeof counters);

  fflush(NULL);
  IN_CHILD_THEN(
      {
        FAILS(cmk_nbd_server_stop(server, &e), CMK_ERR_INVALID_STATE, e);
        FAILS(cmk_nbd_server_stats(server, &counters, &e), CMK_ERR_INVALID_STATE, e);
        FAILS(cmk_nbd_server_start(volume, socket_path("child"), NULL, &second, &e), CMK_ERR_INVALID_STATE, e);
        cmk_nbd_server_free(server);
        cmk_volume_free(volume);
      },
      execl("/bin/true", "true", NULL));
  path = socket_path("server");
  CHECK(answers(path));

  /* The server has the volume for as long as it goes on. */
  cmk_volume_free(volume);
  CHECK(answers(path));
  OK(cmk_nbd_server_stop(server, &e), e);
  OK(cmk_nbd_server_stop(server, &e), e);
  CHECK(!exists(path));
  OK(cmk_nbd_server_stats(server, &counters, &e), e);
  CHECK(counters.connections == 0);
  cmk_nbd_server_free(server);

  /* What is there isn't replaced, unless it is a socket that nobody listens on. */
  OK(cmk_backing_memory(MIB, &backing, &e), e);
  OK(cmk_volume_create(backing, NULL, &volume, &e), e);
  cmk_backing_free(backing);
  FILE *file = fopen(path, "w");
  CHECK(file != NULL && fclose(file) == 0);
  FAILS(cmk_nbd_server_start(volume, path, NULL, &server, &e), CMK_ERR_ALREADY_EXISTS, e);
  CHECK(unlink(path) == 0);
  char long_path[200];
  memset(long_path, 'a', sizeof long_path);
  long_path[0] = '/', long_path[sizeof long_path - 1] = '\0';
  FAILS(cmk_nbd_server_start(volume, long_path, NULL, &server, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_nbd_server_start(volume, NULL, NULL, &server, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_nbd_server_start(NULL, path, NULL, &server, &e), CMK_ERR_INVALID_ARGUMENT, e);
  options.name = "\xFF";
  FAILS(cmk_nbd_server_start(volume, path, &options, &server, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(server == NULL && !exists(path) && cmk_nbd_server_socket(NULL) == NULL);
  FAILS(cmk_nbd_server_stop(NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_nbd_server_stats(NULL, &counters, &e), CMK_ERR_INVALID_ARGUMENT, e);
  cmk_nbd_server_free(NULL);
  /* Freed while it runs. */
  OK(cmk_nbd_server_start(volume, path, NULL, &server, &e), e);
  cmk_nbd_server_free(server);
  CHECK(!exists(path));
  cmk_volume_free(volume);
}

static void begin_and_die(const char *name) {
  cmk_error *e = NULL;
  cmk_scratch *job = NULL;
  cmk_scratch_options options = options_of(name);
  options.place = CMK_PLACE_FILE;
  options.place_path = scratch("dead-disk");
  options.expose = CMK_EXPOSE_NBD;
  options.expose_path = socket_path("dead");
  OK(cmk_scratch_begin(&options, &job, &e), e);
  kill(getpid(), SIGKILL);
}

static void died(const char *name) {
  int status = 0;
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    begin_and_die(name);
    _exit(1);
  }
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  CHECK(exists(scratch("dead-disk")) && exists(socket_path("dead")));
}

static void recovery(void) {
  cmk_error *e = NULL;
  cmk_recovery *recovery = NULL;
  cmk_scratch *running = NULL, *job = NULL;
  cmk_scratch_options options = options_of("running");
  OK(cmk_scratch_begin(&options, &running, &e), e);
  died("dead");
  FILE *file = fopen(scratch("state/jobs/bad.json"), "w");
  CHECK(file != NULL && fputs("{", file) >= 0 && fclose(file) == 0);

  OK(cmk_scratch_recover(options.state_dir, &recovery, &e), e);
  CHECK(cmk_recovery_len(recovery) == 2);
  CHECK(strcmp(cmk_recovery_job(recovery, 0), "bad") == 0 && cmk_recovery_record(recovery, 0) == NULL);
  CHECK(strstr(cmk_error_message(cmk_recovery_error(recovery, 0)), "bad.json") != NULL);
  CHECK(strcmp(cmk_recovery_job(recovery, 1), "dead") == 0 && cmk_recovery_error(recovery, 1) == NULL);
  const cmk_erasure_record *record = cmk_recovery_record(recovery, 1);
  CHECK(strstr(cmk_erasure_record_json(record), "\"recovered\":true") != NULL && cmk_erasure_record_discarded(record));
  CHECK(cmk_erasure_record_left_behind_count(record) == 0);
  CHECK(cmk_recovery_job(recovery, 2) == NULL && cmk_recovery_record(recovery, 2) == NULL && cmk_recovery_error(recovery, 2) == NULL);
  cmk_recovery_free(recovery);
  CHECK(!exists(scratch("dead-disk")) && !exists(socket_path("dead")));
  CHECK(unlink(scratch("state/jobs/bad.json")) == 0);
  OK(cmk_scratch_recover(options.state_dir, &recovery, &e), e);
  CHECK(cmk_recovery_len(recovery) == 0);
  cmk_recovery_free(recovery);

  /* A job of the same name cleans up, too. */
  died("dead");
  options = options_of("dead");
  OK(cmk_scratch_begin(&options, &job, &e), e);
  CHECK(!exists(scratch("dead-disk")));
  cmk_scratch_free(job);
  OK(cmk_scratch_end(running, 0, NULL, NULL, &e), e);
  cmk_scratch_free(running);

  FAILS(cmk_scratch_recover(NULL, &recovery, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(cmk_recovery_len(NULL) == 0 && cmk_recovery_job(NULL, 0) == NULL);
  cmk_recovery_free(NULL);
}

static void misuse(void) {
  cmk_error *e = NULL;
  cmk_scratch *job = NULL;
  cmk_scratch_options good = options_of("job"), bad;
  cmk_volume_options encryption = {.struct_size = sizeof encryption, .block_size = 512};
#define REFUSED(change)                                                  \
  do {                                                                   \
    bad = good;                                                          \
    change;                                                              \
    FAILS(cmk_scratch_begin(&bad, &job, &e), CMK_ERR_INVALID_ARGUMENT, e); \
    CHECK(job == NULL);                                                  \
  } while (0)
  REFUSED(bad.struct_size = 8);
  REFUSED(bad.state_dir = NULL);
  REFUSED(bad.job = NULL);
  REFUSED(bad.job = "../up");
  REFUSED(bad.job = "");
  REFUSED(bad.size = 0);
  REFUSED(bad.size = 5000);
  REFUSED(bad.place = 4);
  REFUSED(bad.place = CMK_PLACE_MEMORY);
  REFUSED((bad.place = CMK_PLACE_FILE, bad.place_path = NULL));
  REFUSED((bad.place = CMK_PLACE_DEVICE, bad.place_path = NULL));
  REFUSED(bad.overwrite = 1);
  REFUSED((bad.place = CMK_PLACE_DEVICE, bad.overwrite = 2));
  REFUSED(bad.expose = 4);
  REFUSED(bad.expose = CMK_EXPOSE_NBD);
  REFUSED(bad.expose_path = scratch("x"));
  REFUSED(bad.owner_uid = 1);
  REFUSED(bad.file_system = CMK_FILE_SYSTEM_XFS);
  REFUSED((bad.expose = CMK_EXPOSE_MOUNT, bad.file_system = 2));
  REFUSED(bad.volume = &encryption);
  FAILS(cmk_scratch_begin(NULL, &job, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_scratch_begin(&good, NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_scratch_end(NULL, 0, NULL, NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(cmk_scratch_path(NULL) == NULL && cmk_erasure_record_json(NULL) == NULL);

  /* What is there isn't taken, and stays. */
  bad = good;
  bad.place = CMK_PLACE_FILE;
  bad.place_path = scratch("there");
  FILE *file = fopen(bad.place_path, "w");
  CHECK(file != NULL && fclose(file) == 0);
  FAILS(cmk_scratch_begin(&bad, &job, &e), CMK_ERR_ALREADY_EXISTS, e);
  CHECK(exists(bad.place_path));
  bad.place = CMK_PLACE_DEVICE;
  bad.size = 0;
  CHECK(cmk_scratch_begin(&bad, &job, NULL) != CMK_OK && job == NULL);

  /* An end may be misused without harm. */
  OK(cmk_scratch_begin(&good, &job, &e), e);
  FAILS(cmk_scratch_end(job, 0, "\xFF", NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  OK(cmk_scratch_end(job, UINT64_MAX, NULL, NULL, &e), e);
  cmk_scratch_free(job);
}

static void protects(void) {
  cmk_error *e = NULL;
  bool locked = true, off = true;
  cmk_text_list *warnings = NULL;
  struct rlimit limit;
  OK(cmk_protect_process(CMK_PROTECT_OFF, CMK_PROTECT_OFF, &locked, &off, &warnings, &e), e);
  CHECK(!locked && !off && cmk_text_list_len(warnings) == 0);
  cmk_text_list_free(warnings);
  FAILS(cmk_protect_process(3, CMK_PROTECT_OFF, &locked, NULL, NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_protect_process(CMK_PROTECT_OFF, 3, NULL, &off, NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  OK(cmk_protect_process(CMK_PROTECT_OFF, CMK_PROTECT_REQUIRED, &locked, &off, NULL, &e), e);
  CHECK(off && !locked && prctl(PR_GET_DUMPABLE) == 0);
  CHECK(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  CHECK(mkdtemp(sockets) != NULL);
  in_this_process();
  over_nbd();
  /* valgrind runs one thread at a time, also while a system call waits for a file system that another thread serves. The other passes have these. */
  if (below_valgrind()) {
    fprintf(stderr, "skipped below valgrind: FUSE and mounts\n");
  } else {
    over_fuse();
    mounted();
  }
  servers();
  recovery();
  misuse();
  CHECK(rmdir(sockets) == 0);
  protects();
  return 0;
}
