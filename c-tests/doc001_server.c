/* The server of document 001, its fragments as they stand (its one misprint, s.addr, mended), with what they leave out. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 9000

char buffer[] = "hello, client\n";

int main(void)
{
struct sockaddr_in s_addr, c_addr;

int s_socket = socket(PF_INET, SOCK_STREAM, 0);

memset(&s_addr, 0, sizeof(s_addr));
s_addr.sin_addr.s_addr = htonl(INADDR_ANY);
s_addr.sin_family = AF_INET;
s_addr.sin_port = htons(PORT);

if(bind(s_socket, (struct sockaddr *)&s_addr, sizeof(s_addr))==-1) {
    printf("can't bind\n");
    return -1;
}

if(listen(s_socket, 5) == -1) {
    printf("listen fail\n");
    return -1;
}

int len = sizeof(c_addr);
int c_socket = accept(s_socket, (struct sockaddr *)&c_addr, &len);

int n = strlen(buffer);
write(c_socket, buffer, n);

close(c_socket);
close(s_socket);
return 0;
}
