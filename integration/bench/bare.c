/* The least that an exec into a container can be: fork, every cgroup, every namespace, fork, exec.
 *
 * No user, capability, seccomp, label, or limit is set, no output read, no failure explained:
 * a lower bound to measure an engine by, not an engine. `make bench` builds and runs it:
 *
 *     bare PID CGROUP.PROCS...    for each line `bare N` on stdin: N execs of /bin/true, one after the
 *                                 other, and one line with the nanoseconds of each
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct { const char *name; int flag; } kinds[] = {
    {"mnt", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"net", CLONE_NEWNET}, {"ipc", CLONE_NEWIPC},
    {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP}, {"user", CLONE_NEWUSER},
};

static void fail(const char *what)
{
    perror(what);
    _exit(126);
}

/* The namespaces that are not this process's own: setns into one's own user namespace is an error. */
static int namespaces(const char *pid)
{
    int flags = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        char path[64];
        struct stat own, other;
        snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i].name);
        if (stat(path, &own) != 0)
            continue;
        snprintf(path, sizeof(path), "/proc/%s/ns/%s", pid, kinds[i].name);
        if (stat(path, &other) != 0)
            fail(path);
        if (own.st_ino != other.st_ino)
            flags |= kinds[i].flag;
    }
    return flags;
}

static int status_of(pid_t pid)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        fail("fork and wait");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}

static void join_and_run(int pidfd, int flags, char **procs)
{
    char *argv[] = {"/bin/true", NULL}, *envp[] = {"PATH=/bin", NULL};
    for (; *procs != NULL; procs++) {
        int fd = open(*procs, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1)
            fail(*procs);
        close(fd);
    }
    if (setns(pidfd, flags) != 0)
        fail("setns");
    pid_t pid = fork(); /* a pid namespace takes in only children */
    if (pid == 0) {
        execve(argv[0], argv, envp);
        fail("execve");
    }
    _exit(status_of(pid));
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    int pidfd = (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0);
    if (pidfd < 0)
        fail("pidfd_open");
    fcntl(pidfd, F_SETFD, FD_CLOEXEC);
    int flags = namespaces(argv[1]);
    char word[32];
    for (int count; scanf("%31s %d", word, &count) == 2; fflush(stdout)) {
        for (int i = 0; i < count; i++) {
            struct timespec start, end;
            clock_gettime(CLOCK_MONOTONIC, &start);
            pid_t pid = fork();
            if (pid == 0)
                join_and_run(pidfd, flags, argv + 2);
            if (status_of(pid) != 0)
                return 1;
            clock_gettime(CLOCK_MONOTONIC, &end);
            printf("%lld ", (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec);
        }
        printf("\n");
    }
    return 0;
}
