import java.net.*;
import java.io.*;

public class TCPServer {
    public static void main(String[] args) {
        try {
            // 서버 소켓 생성
            ServerSocket serverSocket = new ServerSocket(8080);
            System.out.println("Server is listening on port 8080");

            // 클라이언트 연결 수락
            Socket clientSocket = serverSocket.accept();

            // 클라이언트로부터 메시지 수신
            BufferedReader in = new BufferedReader(new InputStreamReader(clientSocket.getInputStream()));
            String message = in.readLine();
            System.out.println("Client: " + message);

            // 클라이언트에 메시지 전송
            PrintWriter out = new PrintWriter(clientSocket.getOutputStream(), true);
            out.println("Hello Client");

            // 연결 종료
            clientSocket.close();
            serverSocket.close();
        } catch (IOException e) {
            e.printStackTrace();
        }
    }
}
