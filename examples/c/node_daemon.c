/* A node daemon: it keeps records encrypted under the customer's key, and gives jobs scratch disks.
 *
 *   node_daemon HOME RECORDS THREADS
 *
 * HOME has the key directory (HOME/keys) and the records (HOME/records, one file each). At its start the daemon opens what is there and
 * reads all records of earlier runs. Then its threads write RECORDS new ones, and it waits. SIGTERM or SIGINT ends it cleanly at any
 * time. It prints one line for each step, which is what the test looks at.
 *
 * With NODE_KEY in its environment, a key in Azure Key Vault such as https://VAULT.vault.azure.net/keys/NAME, the records are encrypted under that
 * instead of a key in HOME/keys. It signs in by whatever identity the environment has. A thread keeps asking whether the key may still be
 * used, and HOME/audit.jsonl has a line for each operation of the vault. NODE_CA_FILE names further roots to trust.
 *
 * Every record has its number in its encryption context: one can't be put in the place of another.
 *
 * Its standard input takes lines: `begin JOB MIB` makes a disk for a job, mounted where that is possible, else or with NODE_NBD in its environment as an NBD export, and prints where; `end JOB` erases it. Those disks'
 * keys are wrapped by the customer's, too. HOME/scratch knows what the jobs hold: what a daemon that died left is cleaned up at the next start. SIGTERM ends all jobs.
 */
#include <cmkit.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_LEN 1024
#define ENVELOPE_CAPACITY (RECORD_LEN + 1024)
#define MAX_JOBS 16
#define NAME_CAPACITY 65

static const char *home;
static cmk_keyring *keyring;
static cmk_maintenance *maintenance;
static unsigned wanted;
static atomic_uint next_record, at_work;
static atomic_bool stopping, failed;

/* Says what failed and frees the error. */
static int complain(const char *what, cmk_error *error) {
  fprintf(stderr, "%s: %s: %s\n", what, cmk_result_name(cmk_error_code(error)), cmk_error_message(error));
  cmk_error_free(error);
  return -1;
}

static int complain_errno(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  return -1;
}

/* Where the customer's key is, and as whom to ask for it. Nothing is asked yet. */
static cmk_result open_vault(const char *key, cmk_key_vault **vault, cmk_error **error) {
  const char *ca_file = getenv("NODE_CA_FILE");
  cmk_key_vault_builder *builder = NULL;
  cmk_result result = cmk_key_vault_builder_new(&builder, error);
  if (result == CMK_OK) result = cmk_key_vault_builder_key(builder, key, error);
  if (result == CMK_OK && ca_file != NULL) result = cmk_key_vault_builder_ca_file(builder, ca_file, error);
  if (result == CMK_OK) result = cmk_key_vault_builder_build(builder, vault, error);
  cmk_key_vault_builder_free(builder);
  return result;
}

/* The keyring of a daemon whose key is in a vault. */
static int load_vault_keyring(const char *key) {
  char path[4096];
  cmk_key_vault *vault = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_error *error = NULL;
  snprintf(path, sizeof path, "%s/audit.jsonl", home);
  cmk_result result = open_vault(key, &vault, &error);
  if (result == CMK_OK) result = cmk_keyring_builder_new(&builder, &error);
  if (result == CMK_OK) result = cmk_keyring_builder_add_key_vault(builder, vault, &error);
  if (result == CMK_OK) result = cmk_keyring_builder_wrap_with(builder, key, &error);
  if (result == CMK_OK) result = cmk_keyring_builder_workspace(builder, "node-records", &error);
  if (result == CMK_OK) result = cmk_keyring_builder_audit_file(builder, path, &error);
  if (result == CMK_OK) result = cmk_keyring_builder_build(builder, &keyring, &error);
  /* The thread has this one's signal mask: it takes none of the daemon's. */
  if (result == CMK_OK) result = cmk_keyring_maintenance_start(keyring, &maintenance, &error);
  if (result == CMK_OK) printf("keyring: vault key, as %s\n", cmk_key_vault_identity(vault));
  cmk_keyring_builder_free(builder);
  cmk_key_vault_free(vault);
  return result == CMK_OK ? 0 : complain("cannot load the keyring", error);
}

/* The daemon's keyring. A key that is missing is created; one that is there is never touched. */
static int load_keyring(void) {
  char path[4096];
  cmk_local_provider *keys = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_error *error = NULL;
  bool created = false;
  snprintf(path, sizeof path, "%s/keys", home);
  cmk_result result = cmk_local_provider_open_or_create(path, &keys, &error);
  if (result == CMK_OK) {
    result = cmk_local_provider_create_key_if_absent(keys, "node", CMK_KEY_TYPE_OCT_256, &created, NULL, 0, &error);
  }
  if (result == CMK_OK) result = cmk_keyring_builder_new(&builder, &error);
  if (result == CMK_OK) result = cmk_keyring_builder_add_local(builder, keys, &error);
  if (result == CMK_OK) result = cmk_keyring_builder_wrap_with(builder, "local:node", &error);
  if (result == CMK_OK) result = cmk_keyring_builder_workspace(builder, "node-records", &error);
  if (result == CMK_OK) result = cmk_keyring_builder_build(builder, &keyring, &error);
  cmk_keyring_builder_free(builder);
  cmk_local_provider_free(keys);
  if (result != CMK_OK) return complain("cannot load the keyring", error);
  printf("keyring: %s\n", created ? "new key" : "existing key");
  return 0;
}

/* What the record of this number says, so that it can be checked. */
static void make_record(unsigned number, uint8_t record[RECORD_LEN]) {
  for (int i = 0; i < RECORD_LEN; i++) record[i] = (uint8_t)(number * 31 + (unsigned)i * 7);
}

static cmk_context *context_of(unsigned number, cmk_error **error) {
  char text[16];
  snprintf(text, sizeof text, "%u", number);
  cmk_pair pair = CMK_PAIR("record", text);
  cmk_context *context = NULL;
  cmk_context_new(&pair, 1, &context, error);
  return context;
}

/* Writes a file that appears whole or not at all. */
static int store(unsigned number, const uint8_t *data, size_t len) {
  char path[4096], temporary[4096 + 8];
  snprintf(path, sizeof path, "%s/records/%08u.cmk", home, number);
  snprintf(temporary, sizeof temporary, "%s.tmp", path);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return complain_errno(temporary);
  for (size_t done = 0; done < len;) {
    ssize_t n = write(fd, data + done, len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      close(fd);
      return complain_errno(temporary);
    }
    done += (size_t)n;
  }
  if (close(fd) != 0 || rename(temporary, path) != 0) return complain_errno(path);
  return 0;
}

static int write_record(unsigned number) {
  uint8_t record[RECORD_LEN], envelope[ENVELOPE_CAPACITY];
  size_t len = 0;
  cmk_error *error = NULL;
  cmk_context *context = context_of(number, &error);
  if (context == NULL) return complain("cannot make a context", error);
  make_record(number, record);
  cmk_result result =
      cmk_keyring_encrypt(keyring, record, sizeof record, context, envelope, sizeof envelope, &len, &error);
  cmk_context_free(context);
  if (result != CMK_OK) return complain("cannot encrypt", error);
  return store(number, envelope, len);
}

static void *work(void *argument) {
  (void)argument;
  while (!atomic_load(&stopping)) {
    unsigned number = atomic_fetch_add(&next_record, 1);
    if (number >= wanted) break;
    if (write_record(number) != 0) {
      atomic_store(&failed, true);
      kill(getpid(), SIGTERM);
      break;
    }
  }
  if (atomic_fetch_sub(&at_work, 1) == 1) printf("idle\n");
  return NULL;
}

static int read_record(const char *name, unsigned number) {
  char path[4096];
  uint8_t record[RECORD_LEN], envelope[ENVELOPE_CAPACITY], back[RECORD_LEN];
  size_t len = 0;
  cmk_error *error = NULL;
  snprintf(path, sizeof path, "%s/records/%s", home, name);
  FILE *file = fopen(path, "rb");
  if (file == NULL) return complain_errno(path);
  size_t envelope_len = fread(envelope, 1, sizeof envelope, file);
  fclose(file);
  cmk_context *context = context_of(number, &error);
  if (context == NULL) return complain("cannot make a context", error);
  cmk_result result = cmk_keyring_decrypt(keyring, envelope, envelope_len, context, back, sizeof back, &len, &error);
  cmk_context_free(context);
  if (result != CMK_OK) return complain(path, error);
  make_record(number, record);
  if (len != sizeof record || memcmp(back, record, len) != 0) {
    fprintf(stderr, "%s: not what was written\n", path);
    return -1;
  }
  return 0;
}

/* Reads the records of earlier runs; the number behind the last one is the next to be written. */
static int reopen(void) {
  char path[4096];
  unsigned found = 0, next = 0;
  snprintf(path, sizeof path, "%s/records", home);
  if (mkdir(path, 0700) != 0 && errno != EEXIST) return complain_errno(path);
  DIR *dir = opendir(path);
  if (dir == NULL) return complain_errno(path);
  int result = 0;
  for (struct dirent *entry; result == 0 && (entry = readdir(dir)) != NULL;) {
    char *end = NULL;
    unsigned long number = strtoul(entry->d_name, &end, 10);
    if (end == entry->d_name || strcmp(end, ".cmk") != 0) continue;
    result = read_record(entry->d_name, (unsigned)number);
    found++;
    if (number >= next) next = (unsigned)number + 1;
  }
  closedir(dir);
  if (result != 0) return result;
  atomic_store(&next_record, next);
  wanted += next;
  printf("records: %u read\n", found);
  return 0;
}

/* The jobs that run. Only the main thread looks at them. */
static struct job {
  char name[NAME_CAPACITY];
  cmk_scratch *disk; /* NULL: a free place */
} jobs[MAX_JOBS];

static struct job *find_job(const char *name) {
  for (int i = 0; i < MAX_JOBS; i++) {
    if (name == NULL ? jobs[i].disk == NULL : jobs[i].disk != NULL && strcmp(jobs[i].name, name) == 0) return &jobs[i];
  }
  return NULL;
}

/* Cleans up after a daemon that died. */
static int recover_jobs(void) {
  char path[4096];
  cmk_recovery *recovery = NULL;
  cmk_error *error = NULL;
  snprintf(path, sizeof path, "%s/scratch", home);
  if (cmk_scratch_recover(path, &recovery, &error) != CMK_OK) return complain("cannot recover", error);
  for (size_t i = 0; i < cmk_recovery_len(recovery); i++) {
    const cmk_error *problem = cmk_recovery_error(recovery, i);
    printf("recovered: %s%s%s\n", cmk_recovery_job(recovery, i), problem != NULL ? ": " : "",
           cmk_error_message(problem));
  }
  cmk_recovery_free(recovery);
  return 0;
}

/* A disk for a job, whose key is the customer's to take away. */
static int begin_job(const char *name, uint64_t size) {
  char state[4096], place[4096];
  struct job *job = find_job(NULL);
  cmk_error *error = NULL;
  if (job == NULL) {
    fprintf(stderr, "%s: too many jobs\n", name);
    return -1;
  }
  snprintf(state, sizeof state, "%s/scratch", home);
  snprintf(place, sizeof place, "%s/%s.nbd", home, name);

  cmk_volume_options volume;
  memset(&volume, 0, sizeof volume);
  volume.struct_size = sizeof volume;
  volume.keyring = keyring;

  cmk_scratch_options options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  options.state_dir = state;
  options.job = name;
  options.size = size;
  options.place = CMK_PLACE_DIR;
  options.place_path = home;
  options.volume = &volume;
  if (getenv("NODE_NBD") == NULL && geteuid() == 0 && access("/dev/fuse", F_OK) == 0) {
    options.expose = CMK_EXPOSE_MOUNT;
  } else {
    options.expose = CMK_EXPOSE_NBD;
    options.expose_path = place;
  }
  if (cmk_scratch_begin(&options, &job->disk, &error) != CMK_OK) return complain(name, error);
  snprintf(job->name, sizeof job->name, "%s", name);
  printf("job %s: %s\n", name, cmk_scratch_path(job->disk));
  return 0;
}

/* Erases it. Whoever still uses it after the deadline reads errors. */
static int end_job(struct job *job, uint64_t deadline_ms) {
  cmk_erasure_record *record = NULL;
  cmk_error *error = NULL;
  cmk_result result = cmk_scratch_end(job->disk, deadline_ms, NULL, &record, &error);
  if (result == CMK_OK) printf("job %s erased: %s\n", job->name, cmk_erasure_record_json(record));
  for (size_t i = 0; i < cmk_erasure_record_left_behind_count(record); i++) {
    fprintf(stderr, "job %s: %s\n", job->name, cmk_erasure_record_left_behind(record, i));
  }
  cmk_erasure_record_free(record);
  cmk_scratch_free(job->disk);
  job->disk = NULL;
  return result == CMK_OK ? 0 : complain(job->name, error);
}

/* A line of the standard input. What is wrong with one is said, and the daemon goes on. */
static void command(const char *line) {
  char name[NAME_CAPACITY];
  unsigned mib = 0;
  struct job *job = NULL;
  if (sscanf(line, "begin %64s %u", name, &mib) == 2) {
    begin_job(name, (uint64_t)mib << 20);
  } else if (sscanf(line, "end %64s", name) == 1 && (job = find_job(name)) != NULL) {
    end_job(job, 10000);
  } else {
    fprintf(stderr, "not a command, or no such job: %s\n", line);
  }
}

/* Takes commands until a signal comes, or something fails. */
static int serve(const sigset_t *signals) {
  char lines[1024];
  size_t len = 0;
  int fd = signalfd(-1, signals, SFD_CLOEXEC);
  if (fd < 0) return complain_errno("signalfd");
  struct pollfd polled[2] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
  while ((polled[0].revents & POLLIN) == 0) {
    if (poll(polled, 2, -1) < 0 && errno != EINTR) return complain_errno("poll");
    if ((polled[1].revents & (POLLIN | POLLHUP)) == 0) continue;
    ssize_t n = read(STDIN_FILENO, lines + len, sizeof lines - 1 - len);
    if (n <= 0) {
      polled[1].fd = -1; /* no more commands */
      continue;
    }
    len += (size_t)n;
    lines[len] = '\0';
    for (char *end; (end = strchr(lines, '\n')) != NULL;) {
      *end++ = '\0';
      command(lines);
      len -= (size_t)(end - lines);
      memmove(lines, end, len + 1);
    }
    if (len == sizeof lines - 1) len = 0; /* no line is that long */
  }
  close(fd);
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s HOME RECORDS THREADS\n", argv[0]);
    return 2;
  }
  home = argv[1];
  wanted = (unsigned)strtoul(argv[2], NULL, 10);
  unsigned count = (unsigned)strtoul(argv[3], NULL, 10);
  if (count < 1 || count > 64) count = 1;

  /* Signals are taken by this thread alone, in serve: blocked before any other thread is made. */
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);

  const char *key = getenv("NODE_KEY");
  int result = key != NULL ? load_vault_keyring(key) : load_keyring();
  if (result == 0) result = reopen();
  if (result == 0) result = recover_jobs();
  if (result == 0) {
    pthread_t threads[64];
    unsigned running = 0, first = atomic_load(&next_record);
    atomic_store(&at_work, count);
    while (running < count && pthread_create(&threads[running], NULL, work, NULL) == 0) running++;
    printf("threads: %u\n", running);
    result = serve(&signals);
    for (int i = 0; i < MAX_JOBS; i++) {
      if (jobs[i].disk != NULL && end_job(&jobs[i], 1000) != 0) result = -1;
    }
    atomic_store(&stopping, true);
    for (unsigned i = 0; i < running; i++) pthread_join(threads[i], NULL);
    unsigned last = atomic_load(&next_record);
    printf("written: %u\n", (last < wanted ? last : wanted) - first);
    if (atomic_load(&failed)) result = -1;
  }
  cmk_maintenance_free(maintenance);
  cmk_keyring_free(keyring);
  return result == 0 ? 0 : 1;
}
