/* The client of document 001, its fragments as they stand, with what they leave out. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 9000
#define IPADDR "127.0.0.1"

char buffer[100];

int main(void)
{
int c_socket;
struct sockaddr_in c_addr;

c_socket = socket(PF_INET, SOCK_STREAM, 0);

memset(&c_addr, 0, sizeof(c_addr));
c_addr.sin_addr.s_addr = inet_addr(IPADDR);
c_addr.sin_family = AF_INET;
c_addr.sin_port = htons(PORT);

if(connect(c_socket, (struct sockaddr *) &c_addr, sizeof(c_addr))==-1) {
    printf("Can not connect\n");
    close(c_socket);
    return -1;
}

int n = read(c_socket, buffer, sizeof(buffer) - 1);
if (n > 0) printf("received data: %s", buffer);

close(c_socket);
return 0;
}
