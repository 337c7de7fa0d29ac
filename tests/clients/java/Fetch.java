import java.net.Authenticator;
import java.net.HttpURLConnection;
import java.net.PasswordAuthentication;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/**
 * Fetches the URL given with the client named first. It knows nothing of Bailiwick: where the proxy is
 * comes with JAVA_TOOL_OPTIONS, and the credentials, for which Java has no option, with an
 * Authenticator as its manual has it.
 */
final class Fetch {
    public static void main(String[] arguments) throws Exception {
        URI url = URI.create(arguments[1]);
        int status = arguments[0].equals("HttpClient") ? withHttpClient(url) : withHttpURLConnection(url);
        if (status != 200) {
            throw new IllegalStateException(arguments[0] + ": " + status);
        }
    }

    private static int withHttpClient(URI url) throws Exception {
        HttpClient client = HttpClient.newBuilder()
                .proxy(ProxySelector.getDefault())
                .authenticator(new ProxyCredentials())
                .build();
        return client.send(HttpRequest.newBuilder(url).build(), BodyHandlers.discarding()).statusCode();
    }

    private static int withHttpURLConnection(URI url) throws Exception {
        Authenticator.setDefault(new ProxyCredentials());
        return ((HttpURLConnection) url.toURL().openConnection()).getResponseCode();
    }

    private static final class ProxyCredentials extends Authenticator {
        @Override
        protected PasswordAuthentication getPasswordAuthentication() {
            if (getRequestorType() != RequestorType.PROXY) {
                return null;
            }
            String[] pair = URI.create(System.getenv("HTTPS_PROXY")).getUserInfo().split(":", 2);
            return new PasswordAuthentication(pair[0], pair[1].toCharArray());
        }
    }
}
