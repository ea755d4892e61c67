import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtSession;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Scores a CSV file: the row's number, the class, the probability of the first class. */
public class Score {
    public static void main(String[] arguments) throws Exception {
        List<String> lines = Files.readAllLines(Path.of(arguments[0]));
        List<String> columns = Arrays.asList(lines.get(0).split(","));
        try (OrtEnvironment environment = OrtEnvironment.getEnvironment();
                OrtSession session = environment.createSession("/app/model.onnx")) {
            Map<String, String> facts = session.getMetadata().getCustomMetadata();
            ObjectMapper json = new ObjectMapper();
            String[] features = json.readValue(facts.get("features"), String[].class);
            String[] classes = json.readValue(facts.get("classes"), String[].class);
            float[][] rows = new float[lines.size() - 1][features.length];
            for (int row = 0; row < rows.length; row++) {
                String[] cells = lines.get(row + 1).split(",");
                for (int column = 0; column < features.length; column++) {
                    rows[row][column] = Float.parseFloat(cells[columns.indexOf(features[column])]);
                }
            }
            try (OnnxTensor input = OnnxTensor.createTensor(environment, rows);
                    OrtSession.Result result = session.run(Map.of("features", input))) {
                long[] labels = (long[]) result.get("label").orElseThrow().getValue();
                float[][] scores = (float[][]) result.get("probabilities").orElseThrow().getValue();
                System.out.println("row,prediction,p_" + classes[0]);
                for (int row = 0; row < rows.length; row++) {
                    String class_ = classes[(int) labels[row]];
                    System.out.printf(Locale.ROOT, "%d,%s,%.6f%n", row, class_, scores[row][0]);
                }
            }
        }
    }
}
