/* The process of critest's image nonewprivs: a program of root's with the set-user-ID bit says whose rights it has. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    printf("Effective uid: %d\n", (int)geteuid());
    return 0;
}
