import java.io.BufferedWriter;
import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Scores a table with any exported model, by what is public of it:
 * {@code java Scores CLASS INPUT ROWS RESULTS THREADS OUTPUT… -- PROPERTY:TYPE…}. Cells are parted by tabs.
 */
public final class Scores {
    public static void main(String[] arguments) throws Exception {
        Class<?> type = Class.forName(arguments[0]);
        Class<?> inputType = Class.forName(arguments[1]);
        int threads = Integer.parseInt(arguments[4]);
        List<String> outputs = new ArrayList<>();
        int at = 5;
        while (!arguments[at].equals("--")) {
            outputs.add(arguments[at++]);
        }
        List<?> rows = Rows.read(Path.of(arguments[2]), inputType, Arrays.copyOfRange(arguments, at + 1, arguments.length));
        try (AutoCloseable model = (AutoCloseable) type.getMethod("load").invoke(null)) {
            int golden = (Integer) type.getMethod("selfTest").invoke(model);
            List<?> together = (List<?>) type.getMethod("predict", List.class).invoke(model, rows);
            write(Path.of(arguments[3]), together, outputs);
            int different = inThreads(model, type.getMethod("predict", inputType), rows, together, outputs, threads);
            System.out.println("golden=" + golden + " rows=" + together.size() + " different=" + different);
        }
    }

    /** Every row alone, from many threads: how many are not what they were together, but for the last digit. */
    private static int inThreads(
            Object model, Method predict, List<?> rows, List<?> together, List<String> outputs, int threads)
            throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        try {
            List<Future<Integer>> parts = new ArrayList<>();
            for (int i = 0; i < threads; i++) {
                int first = i;
                Callable<Integer> part = () -> {
                    int different = 0;
                    for (int row = first; row < rows.size(); row += threads) {
                        String[] one = cells(predict.invoke(model, rows.get(row)), outputs).split("\t");
                        String[] other = cells(together.get(row), outputs).split("\t");
                        different += Arrays.equals(one, other, Scores::compared) ? 0 : 1;
                    }
                    return different;
                };
                parts.add(pool.submit(part));
            }
            int different = 0;
            for (Future<Integer> part : parts) {
                different += part.get();
            }
            return different;
        } finally {
            pool.shutdown();
        }
    }

    private static void write(Path file, List<?> results, List<String> outputs) throws Exception {
        try (BufferedWriter writer = Files.newBufferedWriter(file, StandardCharsets.UTF_8)) {
            for (Object result : results) {
                writer.write(cells(result, outputs) + "\n");
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private static String cells(Object result, List<String> outputs) throws ReflectiveOperationException {
        List<String> cells = new ArrayList<>();
        for (String output : outputs) {
            cells.add(text(result.getClass().getMethod(output).invoke(result)));
        }
        return String.join("\t", cells);
    }

    /** Text as it is; numbers within a millionth, for a batch is added up in another order than a row. */
    private static int compared(String one, String other) {
        if (one.matches("[0-9.E-]+[.E][0-9.E-]+") && other.matches("[0-9.E-]+")) {
            double expected = Double.parseDouble(other);
            return Math.abs(Double.parseDouble(one) - expected) <= 1e-6 + 1e-6 * Math.abs(expected) ? 0 : 1;
        }
        return one.compareTo(other);
    }

    private static String text(Object value) {
        if (value instanceof java.util.Map) {
            List<String> cells = new ArrayList<>();
            ((java.util.Map<?, ?>) value).values().forEach(one -> cells.add(one.toString()));
            return String.join("\t", cells);
        }
        return value.toString();
    }
}
