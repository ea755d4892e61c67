import ai.onnxruntime.OrtSession;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.IntUnaryOperator;

/** {@code java Rates ROWS SECONDS ROUNDS THREADS BATCHES PROPERTY:TYPE…}: rows per second of each round, as JSON. */
public final class Rates {
    private static int sink;

    public static void main(String[] arguments) throws Exception {
        double seconds = Double.parseDouble(arguments[1]);
        int rounds = Integer.parseInt(arguments[2]);
        int threads = Integer.parseInt(arguments[3]);
        String[] batches = arguments[4].split(",");
        List<INPUT> rows = new ArrayList<>();
        for (Object row : Rows.read(Path.of(arguments[0]), INPUT.class, Arrays.copyOfRange(arguments, 5, arguments.length))) {
            rows.add((INPUT) row);
        }
        OrtSession.SessionOptions options = new OrtSession.SessionOptions();
        if (threads > 0) {
            options.setIntraOpNumThreads(threads);
        }
        List<String> sizes = new ArrayList<>();
        try (MODEL model = MODEL.load(options)) {
            model.selfTest();
            sizes.add("\"1\": " + measured(seconds, rounds, at -> {
                sink += model.predict(rows.get(at % rows.size())).hashCode();
                return 1;
            }));
            for (String batch : batches) {
                int size = Integer.parseInt(batch);
                List<INPUT> some = new ArrayList<>();
                for (int i = 0; i < size; i++) {
                    some.add(rows.get(i % rows.size()));
                }
                sizes.add("\"" + size + "\": " + measured(seconds, rounds, at -> {
                    sink += model.predict(some).size();
                    return size;
                }));
            }
        }
        System.out.println("{" + String.join(", ", sizes) + "}");
    }

    /** Half a round to warm up, then the rounds. */
    private static List<Double> measured(double seconds, int rounds, IntUnaryOperator work) {
        round(seconds / 2, work);
        List<Double> rates = new ArrayList<>();
        for (int i = 0; i < rounds; i++) {
            rates.add(round(seconds, work));
        }
        return rates;
    }

    private static double round(double seconds, IntUnaryOperator work) {
        long start = System.nanoTime();
        long end = start + (long) (seconds * 1e9);
        long done = 0;
        long now = start;
        for (int at = 0; now < end; at = at + 1 & 0xFFFFFF) {
            done += work.applyAsInt(at);
            now = System.nanoTime();
        }
        return done / ((now - start) / 1e9);
    }
}
